"""POST /v1/embeddings: vectors of the release's encoder, in OpenAI's shape.

Always the champion's encoder, whatever a rollout does: vectors that a caller keeps must come from one model. When a
release brings another encoder, the header `x-palier-encoder` changes, and kept vectors must be made again.
"""

import base64
import re
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from serving.answers import MODEL, choose_seat, whole
from serving.auth import Key
from serving.desk import Call
from serving.problems import BadRequestProblem, ErrorBody, UnknownModelProblem
from serving.releases import Release
from serving.state import GatewayPart

router = APIRouter(prefix="/v1", tags=["embeddings"])
ENCODER_MODEL = f"{MODEL}-encoder"
MAX_INPUTS = 256
MAX_CHARS = 8000
_TOKEN = re.compile(r"\w+|[^\w\s]")


class EmbeddingsRequest(BaseModel):
    """``dimensions`` may be left out, or name what the encoder has: vectors are not cut."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "palier-encoder", "input": ["delivery fee", "frais de livraison"]}]}
    )
    model: str = Field(min_length=1)
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = Field(default=None, gt=0)
    user: str | None = Field(default=None, max_length=512)


class EmbeddingShape(BaseModel):
    """``embedding`` has length 1; in base64 it is float32, little-endian."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """Words and signs: an estimate of tokens, as in chat answers."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """Vectors in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingShape]
    model: str
    usage: EmbeddingsUsage


@router.post(
    "/embeddings",
    responses={status: {"model": ErrorBody} for status in (400, 401, 404, 503)},
    summary="Embed texts with the release's encoder (OpenAI's protocol)",
)
async def create_embeddings(
    body: EmbeddingsRequest, response: Response, gateway: GatewayPart, key: Key
) -> EmbeddingsAnswer:
    """The encoder that passages and questions go through, for other systems that want the same vectors."""
    if body.model != ENCODER_MODEL:
        raise UnknownModelProblem(
            f"There is no embedding model {body.model!r}. The release's encoder is {ENCODER_MODEL!r}.", param="model"
        )
    texts = _texts(body)
    release = choose_seat(gateway.releases.served, key.key_id, rung=None).champion
    vectors = await gateway.desk.run(Call(lambda: release.encoder.embed(texts)))
    if body.dimensions not in (None, vectors.shape[1]):
        raise BadRequestProblem(
            f"The encoder has {vectors.shape[1]} dimensions; {body.dimensions} cannot be had. Leave out `dimensions`.",
            param="dimensions",
        )
    response.headers.update(_headers(release))
    as_base64 = body.encoding_format == "base64"
    data = [
        EmbeddingShape(
            index=index,
            embedding=base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
            if as_base64
            else vector.tolist(),
        )
        for index, vector in enumerate(vectors)
    ]
    n_tokens = sum(len(_TOKEN.findall(text)) for text in texts)
    usage = EmbeddingsUsage(prompt_tokens=n_tokens, total_tokens=n_tokens)
    return EmbeddingsAnswer(data=data, model=ENCODER_MODEL, usage=usage)


def _texts(body: EmbeddingsRequest) -> list[str]:
    """The inputs as texts. Raises BadRequestProblem for tokens, for none or too many, and for an empty one."""
    given = [body.input] if isinstance(body.input, str) else body.input
    texts = [whole(text) for text in given if isinstance(text, str)]
    if len(texts) != len(given):
        raise BadRequestProblem("`input` holds token numbers: send text, the encoder has its own tokens.", "input")
    if not 0 < len(texts) <= MAX_INPUTS:
        raise BadRequestProblem(f"`input` holds {len(texts)} texts; 1 to {MAX_INPUTS} are taken at a time.", "input")
    for place, text in enumerate(texts):
        if not text.strip() or len(text) > MAX_CHARS:
            raise BadRequestProblem(
                f"input[{place}] has {len(text)} characters; it must say something, in at most {MAX_CHARS}.", "input"
            )
    return texts


def _headers(release: Release) -> dict[str, str]:
    encoder = release.manifest.models.get("encoder")
    named = {"x-palier-encoder": encoder.version} if encoder else {}
    return {"x-palier-release": release.manifest.release_id, **named}
