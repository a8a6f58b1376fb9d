"""What one running gateway holds, as one typed object that routes get as a dependency.

Made by the lifespan in `serving/app.py`, read by routes, changed by nobody.
"""

from dataclasses import dataclass
from typing import Annotated, TypedDict

from fastapi import Depends, Request

from palier.adapters.records import Records
from palier.settings import Settings
from serving.answer_cache import AnswerCache
from serving.auth_cache import KeyCache
from serving.desk import Desk, SharedCall
from serving.metrics import Metrics
from serving.releases import ReleaseStore
from serving.rollout import ShadowQueue


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of one gateway."""

    settings: Settings
    records: Records
    releases: ReleaseStore
    shadows: ShadowQueue
    desk: Desk
    probe: SharedCall
    keys: KeyCache
    metrics: Metrics
    answers: AnswerCache


class LifespanState(TypedDict):
    """What the lifespan yields; Starlette shows it to each request as ``request.state``."""

    gateway: Gateway


def gateway_of(request: Request) -> Gateway:
    """The gateway that serves ``request``."""
    gateway = request.state.gateway
    assert isinstance(gateway, Gateway)
    return gateway


def request_id_of(request: Request) -> str:
    """The id that the envelope gave to ``request``."""
    return str(request.state.request_id)


GatewayPart = Annotated[Gateway, Depends(gateway_of)]
RequestId = Annotated[str, Depends(request_id_of)]
