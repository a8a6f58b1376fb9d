"""Money in whole nano-dollars (1e-9 USD): sums are exact, and rounding happens once, when a price is applied."""

from datetime import date as Date  # noqa: N812 (the field below bears the name)

from pydantic import BaseModel, ConfigDict, Field

NANOUSD_PER_USD = 1_000_000_000


class TokenPrice(BaseModel):
    """Prices of a model endpoint in USD per million tokens, as listed on ``date``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_usd_per_million: float = Field(ge=0)
    output_usd_per_million: float = Field(ge=0)
    date: Date


def cpu_cost_nanousd(cpu_seconds: float, usd_per_hour: float) -> int:
    """Cost of ``cpu_seconds`` of one core at ``usd_per_hour``."""
    return round(cpu_seconds * usd_per_hour / 3600 * NANOUSD_PER_USD)


def token_cost_nanousd(n_input: int, n_output: int, price: TokenPrice) -> int:
    """Cost of a call; USD per million tokens is a thousand nano-dollars per token."""
    return round(1000 * (n_input * price.input_usd_per_million + n_output * price.output_usd_per_million))


def usd(nanousd: int) -> float:
    """Dollars, for people and headers; never added up again."""
    return nanousd / NANOUSD_PER_USD
