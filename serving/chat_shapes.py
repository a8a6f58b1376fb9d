"""OpenAI's chat request and answer, as far as we speak them, and the `palier` object that we add.

Unknown fields of a request are ignored, as are those that steer how a model samples (temperature, top_p,
seed, max_tokens ...): answers come from passages. What would change the meaning of the answer (n > 1,
tools, images, audio, structured output) is refused by `serving/conversation.py` with a clear 400.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from palier.domain.documents import Lang
from palier.domain.guarding import Kind

FinishReason = Literal["stop", "content_filter"]
"""``content_filter``: the guard refused the question."""


class ContentPart(BaseModel):
    """One part of a message; only ``type: text`` is read."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: str | None = None


class Message(BaseModel):
    """One turn. ``system`` and ``developer`` turns are accepted and not used: the prompt belongs to the
    release.
    """

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """Body of POST /v1/chat/completions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "palier",
                    "messages": [{"role": "user", "content": "What are the opening hours on Sunday?"}],
                }
            ]
        }
    )
    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1, max_length=500)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: str | None = Field(default=None, max_length=512)
    """Keeps one end user on one release while two are compared; without it, a conversation stays on one."""
    safety_identifier: str | None = Field(default=None, max_length=512)
    n: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    modalities: list[str] | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None


class AttemptShape(BaseModel):
    """One rung that was tried."""

    rung: str
    score: float
    cost_usd: float
    latency_ms: float
    accepted: bool


class CitationShape(BaseModel):
    """What the answer rests on: ``quote`` stands word for word in that passage of that corpus revision."""

    document_id: str
    revision: str
    passage_id: str
    quote: str


class PalierShape(BaseModel):
    """How the answer came about and what it cost."""

    release_id: str
    arm: Literal["champion", "challenger", "shadow"]
    language: Lang
    rung: str
    abstained: bool
    attempts: list[AttemptShape]
    cost_usd: float
    reference_cost_usd: float | None
    """Estimate of what the dearest rung alone would have cost: its mean cost when outcomes were recorded."""
    saved_usd: float | None
    """``reference_cost_usd`` less ``cost_usd``: an estimate too; null where the ladder has one rung."""
    index: str
    citations: list[CitationShape]
    degraded: list[str]
    blocked: Kind | None = None
    """Why the guard refused the question; ``rung`` is `guard` then. Null for every answer."""


class Usage(BaseModel):
    """Words and signs of question and answer: an estimate of tokens. Money stands in ``palier``."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: Literal[0] = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason = "stop"


class ChatCompletion(BaseModel):
    """Answer of POST /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    palier: PalierShape


class Delta(BaseModel):
    """What a chunk adds; fields that add nothing are left out, as OpenAI leaves them out."""

    role: Literal["assistant"] | None = None
    content: str | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, str]:
        return {name: value for name, value in handler(self).items() if value is not None}


class ChunkChoice(BaseModel):
    index: Literal[0] = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatChunk(BaseModel):
    """One event of a stream; ``usage`` and ``palier`` are in the last one only."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    palier: PalierShape | None = None
