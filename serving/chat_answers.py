"""From an answer to OpenAI's JSON, event stream and our headers. Dollars appear here and nowhere before.

A cascade must see a rung's whole answer before it accepts it, so a stream begins when the answer is there:
it has the form that clients want, not an earlier first word. In return every error still has its HTTP
status.
"""

import re
from collections.abc import Iterator
from datetime import datetime

from palier.domain.money import NANOUSD_PER_USD, usd
from serving.answers import Asked, Given
from serving.chat_shapes import (
    AnswerMessage,
    AttemptShape,
    ChatChunk,
    ChatCompletion,
    Choice,
    ChunkChoice,
    CitationShape,
    Delta,
    FinishReason,
    PalierShape,
    Usage,
)

DONE = b"data: [DONE]\n\n"
_TOKEN = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(r"\s*\S+\s*")


def completion(asked: Asked, given: Given, model: str) -> ChatCompletion:
    """The whole answer as one JSON object."""
    return ChatCompletion(
        id=completion_id(asked),
        created=_seconds(asked.asked_at),
        model=model,
        choices=[Choice(message=AnswerMessage(content=given.text), finish_reason=finish_reason(given))],
        usage=usage(asked, given),
        palier=palier_object(given),
    )


def events(asked: Asked, given: Given, model: str, *, include_usage: bool) -> Iterator[bytes]:
    """The answer as server-sent events, word by word.

    The last chunk holds usage and `palier`: it is the one with ``finish_reason``, or, where the caller
    asked for ``include_usage``, the one without choices that OpenAI sends after it.
    """
    frame = ChatChunk(id=completion_id(asked), created=_seconds(asked.asked_at), model=model, choices=[])
    yield _event(frame, Delta(role="assistant", content=""))
    for word in _WORD.findall(given.text):
        yield _event(frame, Delta(content=word))
    costs = {"usage": usage(asked, given), "palier": palier_object(given)}
    last = ChunkChoice(delta=Delta(), finish_reason=finish_reason(given))
    if include_usage:
        yield _data(frame.model_copy(update={"choices": [last]}))
        yield _data(frame.model_copy(update=costs))
    else:
        yield _data(frame.model_copy(update={"choices": [last], **costs}))
    yield DONE


def finish_reason(given: Given) -> FinishReason:
    """OpenAI's word for why the text ends here."""
    return "content_filter" if given.blocked else "stop"


def headers(given: Given) -> dict[str, str]:
    """Release, rung and money as headers; decimals are exact. ``x-palier-saved-usd`` is "null" as in the
    body.
    """
    saved = given.saved_nanousd
    return {
        "x-palier-release": given.seat.release.manifest.release_id,
        "x-palier-rung": given.rung,
        "x-palier-cost-usd": decimal_usd(given.climb.cost_nanousd),
        "x-palier-saved-usd": "null" if saved is None else decimal_usd(saved),
    }


def palier_object(given: Given) -> PalierShape:
    """The `palier` object of the body."""
    manifest = given.seat.release.manifest
    reference, saved = given.reference_cost_nanousd, given.saved_nanousd
    return PalierShape(
        release_id=manifest.release_id,
        arm=given.seat.arm,
        language=given.language,
        rung=given.rung,
        abstained=given.climb.abstained,
        attempts=[
            AttemptShape(
                rung=attempt.answer.rung,
                score=attempt.score,
                cost_usd=usd(attempt.answer.cost_nanousd),
                latency_ms=attempt.answer.latency_ms,
                accepted=attempt.accepted,
            )
            for attempt in given.climb.attempts
        ],
        cost_usd=usd(given.climb.cost_nanousd),
        reference_cost_usd=None if reference is None else usd(reference),
        saved_usd=None if saved is None else usd(saved),
        index=given.origin.index,
        citations=_citations(given),
        degraded=list(given.degraded),
        blocked=given.blocked,
    )


def usage(asked: Asked, given: Given) -> Usage:
    """Counts of words and signs."""
    said = " ".join([*(turn.content for turn in asked.question.history), asked.question.text])
    n_prompt, n_answer = len(_TOKEN.findall(said)), len(_TOKEN.findall(given.text))
    return Usage(prompt_tokens=n_prompt, completion_tokens=n_answer, total_tokens=n_prompt + n_answer)


def completion_id(asked: Asked) -> str:
    """OpenAI's form of an id; the request id is in it."""
    return f"chatcmpl-{asked.request_id}"


def decimal_usd(nanousd: int) -> str:
    """Dollars with nine decimals, without a detour through floats."""
    whole, rest = divmod(abs(nanousd), NANOUSD_PER_USD)
    return f"{'-' if nanousd < 0 else ''}{whole}.{rest:09d}"


def _citations(given: Given) -> list[CitationShape]:
    revision = given.origin.revision
    return [
        CitationShape(
            document_id=citation.document_id,
            revision=revision,
            passage_id=citation.passage_id,
            quote=citation.quote,
        )
        for citation in given.citations
    ]


def _event(frame: ChatChunk, delta: Delta) -> bytes:
    return _data(frame.model_copy(update={"choices": [ChunkChoice(delta=delta)]}))


def _data(chunk: ChatChunk) -> bytes:
    empty = {name for name in ("usage", "palier") if getattr(chunk, name) is None}
    return b"data: " + chunk.model_dump_json(exclude=empty).encode("utf-8") + b"\n\n"


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
