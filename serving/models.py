"""GET /v1/models: the cascade, and each rung alone, as OpenAI lists models."""

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from palier.errors import NotReadyError
from serving.answers import model_names, unknown_model
from serving.auth import require_ask
from serving.problems import ErrorBody
from serving.releases import Release
from serving.state import Gateway, GatewayPart

router = APIRouter(prefix="/v1", tags=["models"], dependencies=[Depends(require_ask)])


class ModelShape(BaseModel):
    """``id`` is what a request names; ``created`` is when the release was packaged, in Unix seconds."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["palier"] = "palier"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelShape]


@router.get("/models", responses={401: {"model": ErrorBody}}, summary="List the cascade and its rungs")
async def list_models(gateway: GatewayPart) -> ModelList:
    """`palier` is the cascade; the others are one rung each."""
    release = _release(gateway)
    return ModelList(data=[_shape(name, release) for name in model_names(release)])


@router.get("/models/{name}", responses={404: {"model": ErrorBody}}, summary="Look up one model")
async def retrieve_model(name: str, gateway: GatewayPart) -> ModelShape:
    """One model of the release that answers now."""
    release = _release(gateway)
    if name not in model_names(release):
        raise unknown_model(name, release)
    return _shape(name, release)


def _release(gateway: Gateway) -> Release:
    release = gateway.releases.served.champion
    if release is None:
        raise NotReadyError("No release answers yet, so there are no models. See /readyz.")
    return release


def _shape(name: str, release: Release) -> ModelShape:
    return ModelShape(id=name, created=int(release.manifest.created_at.timestamp()))
