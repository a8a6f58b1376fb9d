"""GET /admin/releases: what serves, what is being compared, and how it came to this. Needs the scope
``admin``.
"""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.encoders import jsonable_encoder

from serving.auth import require_admin
from serving.problems import ErrorBody
from serving.state import GatewayPart

router = APIRouter(prefix="/admin", tags=["admin"], dependencies=[Depends(require_admin)])


@router.get(
    "/releases",
    responses={401: {"model": ErrorBody}, 403: {"model": ErrorBody}},
    summary="Active releases, the rollout, and the history",
)
async def read_releases(gateway: GatewayPart, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
    """`serving` says what this gateway has in memory, which may differ while a bundle is loading or
    refused.
    """
    active = await asyncio.to_thread(gateway.records.active)
    history = await asyncio.to_thread(gateway.records.history, limit)
    served = gateway.releases.served
    body = {
        "active": _plain(active),
        "serving": {
            "champion": served.champion.manifest.release_id if served.champion else None,
            "challenger": served.challenger.manifest.release_id if served.challenger else None,
            "is_current": served.is_current,
            "findings": dict(served.findings),
        },
        "history": [_plain(event) for event in history],
    }
    plain: dict[str, Any] = jsonable_encoder(body)
    return plain


def _plain(record: Any) -> dict[str, Any]:
    return asdict(record)
