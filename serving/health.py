"""/livez, /readyz and /metrics: for the machines that watch. No key: bind to a private address."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from palier.domain.answering import Question
from serving.desk import SharedCall
from serving.releases import RECORDS_AWAY, Release
from serving.state import Gateway, GatewayPart

router = APIRouter(tags=["health"])

PROBE_TIMEOUT_S = 5.0
PROBE = Question("opening hours", "en")


@router.get("/livez", summary="The process answers")
async def read_liveness() -> dict[str, str]:
    """200 for as long as the event loop turns, whatever else is broken."""
    return {"status": "ok"}


@router.get("/readyz", summary="Questions can be answered now", responses={503: {"description": "Not ready"}})
async def read_readiness(gateway: GatewayPart) -> JSONResponse:
    """200 when records, release and search work; else 503. Each part says what is wrong with it.

    A refused bundle beside a release that works is a finding, not an outage.
    """
    served = gateway.releases.served
    parts = {
        "records": await _records_part(gateway),
        "release": _release_part(gateway),
        "search": await _search_part(served.champion, gateway.probe),
    }
    is_ready = all(part["ok"] for part in parts.values())
    body = {"status": "ready" if is_ready else "not_ready", "parts": parts, "findings": dict(served.findings)}
    return JSONResponse(body, 200 if is_ready else 503)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def read_metrics(gateway: GatewayPart) -> Response:
    """The series of `serving/metrics.py`."""
    return Response(generate_latest(gateway.metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def _records_part(gateway: Gateway) -> dict[str, Any]:
    try:
        await asyncio.wait_for(asyncio.to_thread(gateway.records.active), PROBE_TIMEOUT_S)
    except Exception:  # noqa: BLE001 (whatever it is, it is the answer)
        return {"ok": False, "reason": RECORDS_AWAY}
    return {"ok": True}


def _release_part(gateway: Gateway) -> dict[str, Any]:
    served = gateway.releases.served
    if served.champion is None:
        return {"ok": False, "reason": "; ".join(served.findings.values()) or "loading"}
    part: dict[str, Any] = {"ok": True, "champion": served.champion.manifest.release_id}
    if not served.is_current:
        part["reason"] = "The champion of the records is refused (see findings); the last known good one answers."
    if served.rollout is not None:
        part["challenger"] = served.challenger.manifest.release_id if served.challenger else None
        part["rollout"] = {"phase": served.rollout.phase, "share": served.rollout.share}
    return part


async def _search_part(release: Release | None, probe: SharedCall) -> dict[str, Any]:
    """A real search for one passage: the index is there and the encoder works."""
    if release is None:
        return {"ok": False, "reason": "no release, so no index is known"}
    started = time.perf_counter()
    try:
        await probe.result(lambda: release.retriever.search(PROBE, 1), PROBE_TIMEOUT_S)
    except TimeoutError:
        return {"ok": False, "reason": f"no answer within {PROBE_TIMEOUT_S:g} s"}
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the answer)
        return {"ok": False, "reason": str(error)}
    return {
        "ok": True,
        "index": release.manifest.index,
        "ms": round(1000 * (time.perf_counter() - started), 1),
    }
