"""GET /v1/usage: what was asked and what it cost, in whole nano-dollars, summed from the ledger."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query

from palier.adapters.records import ApiKey
from serving.auth import ADMIN, Key
from serving.problems import BadRequestProblem, ErrorBody
from serving.state import GatewayPart

router = APIRouter(prefix="/v1", tags=["usage"])
DEFAULT_WINDOW = timedelta(days=1)
NOTHING: dict[str, Any] = {
    "n_requests": 0,
    "n_errors": 0,
    "n_abstained": 0,
    "cost_nanousd": 0,
    "reference_cost_nanousd": None,
    "saved_nanousd": None,
    "latency_ms_mean": None,
    "score_mean": None,
}
"""The sums of a key that asked nothing: those of any other key, without a number where there is none."""


@router.get("/usage", responses={400: {"model": ErrorBody}, 401: {"model": ErrorBody}}, summary="Costs and savings")
async def read_usage(
    gateway: GatewayPart,
    key: Key,
    since: Annotated[datetime | None, Query(description="ISO 8601 with a time zone; default: a day ago.")] = None,
) -> dict[str, Any]:
    """Sums of this key; with the scope `admin`, of all keys, by release, rung, language and key.

    `reference_cost_nanousd` and `saved_nanousd` are estimates: the mean cost of the dearest rung, as
    recorded.
    """
    start = since or datetime.now(UTC) - DEFAULT_WINDOW
    if start.tzinfo is None:
        raise BadRequestProblem(f"`since` needs a time zone: {start.isoformat()}Z, for example.", param="since")
    try:
        start.astimezone(UTC)
    except OverflowError:
        raise BadRequestProblem(f"`since` is {start.isoformat()}: in UTC that is no day.", param="since") from None
    sums = await asyncio.to_thread(gateway.records.usage, start)
    return {"object": "usage", "since": start.isoformat(), **_visible(sums, key)}


def _visible(sums: dict[str, Any], key: ApiKey) -> dict[str, Any]:
    """All of it for an admin; for others the row of their own key, or zeros."""
    if ADMIN in key.scopes:
        return {"scope": "all", **sums}
    own = next((row for row in sums["by_key"] if row["key_id"] == key.key_id), NOTHING)
    return {"scope": key.key_id, "key_id": key.key_id, **own}
