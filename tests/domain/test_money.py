"""Money is whole nano-dollars: rounded once, within half a nano-dollar of the exact price, and added exactly."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from palier.domain.money import NANOUSD_PER_USD, TokenPrice, cpu_cost_nanousd, token_cost_nanousd, usd

LISTED = st.decimals(0, 200, places=3, allow_nan=False)
TOKENS = st.integers(0, 2_000_000)


def price(into: Decimal | float, out: Decimal | float) -> TokenPrice:
    return TokenPrice.model_validate(
        {"input_usd_per_million": float(into), "output_usd_per_million": float(out), "date": "2024-07-18"}
    )


def test_a_bill_by_hand():
    assert token_cost_nanousd(1_000, 100, price(0.15, 0.60)) == 150_000 + 60_000
    assert token_cost_nanousd(1, 0, price(0.15, 0.60)) == 150
    assert cpu_cost_nanousd(3600, 0.04) == 40_000_000
    assert cpu_cost_nanousd(0.1, 0.04) == 1_111


@given(TOKENS, TOKENS, LISTED, LISTED)
def test_a_listed_price_to_the_third_decimal_makes_an_exact_bill(n_input, n_output, into, out):
    exact = 1000 * (n_input * into + n_output * out)
    assert token_cost_nanousd(n_input, n_output, price(into, out)) == exact


@given(st.floats(0, 1e5), st.floats(0, 100))
def test_cpu_time_is_rounded_once_and_by_half_a_nano_dollar_at_most(seconds, per_hour):
    exact = Decimal(seconds) * Decimal(per_hour) * NANOUSD_PER_USD / 3600
    assert abs(cpu_cost_nanousd(seconds, per_hour) - exact) <= Decimal("0.5") + exact * Decimal("1e-15")


@given(st.lists(st.integers(0, 10**12), min_size=2))
def test_a_sum_does_not_depend_on_its_order_as_dollars_in_floats_would(costs):
    assert sum(costs) == sum(reversed(costs))
    assert usd(sum(costs)) == pytest.approx(sum(costs) / 1e9, rel=1e-15)


@given(st.integers(0, 10**15))
def test_dollars_for_people_lead_back_to_the_same_nano_dollars(nanousd):
    assert round(usd(nanousd) * NANOUSD_PER_USD) == nanousd


@pytest.mark.parametrize(
    ("field", "value"), [("input_usd_per_million", -0.1), ("date", "last spring"), ("currency", "EUR")]
)
def test_a_price_below_zero_without_a_date_or_in_another_currency_is_refused(field, value):
    raw = {"input_usd_per_million": 1, "output_usd_per_million": 1, "date": "2024-07-18", field: value}
    with pytest.raises(ValidationError, match=field):
        TokenPrice.model_validate(raw)
