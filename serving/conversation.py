"""From OpenAI's messages to a question: its text, its language, what was said before, and whose it is.

Refuses with a clear 400 what would change the meaning of an answer that we cannot give.
"""

import hashlib
from collections.abc import Sequence
from datetime import date

from palier.domain.answering import Question, Turn
from palier.domain.guarding import REFUSALS
from palier.domain.language import detect_language
from serving.answers import MODEL, whole
from serving.chat_shapes import ChatRequest, Message
from serving.problems import BadRequestProblem, UnknownModelProblem

MAX_QUESTION_CHARS = 4000
MAX_HISTORY_TURNS = 20
_SILENT_ROLES = ("system", "developer")
_REFUSALS = frozenset(text for by_kind in REFUSALS.values() for text in by_kind.values())


def refuse_unsupported(body: ChatRequest) -> None:
    """Raises BadRequestProblem, naming the field, for what the gateway does not do."""
    wishes = (
        ("n", body.n not in (None, 1), "one answer per request: leave out `n`, or send 1"),
        ("tools", bool(body.tools), "no tools: answers come from the documents"),
        ("functions", bool(body.functions), "no functions: answers come from the documents"),
        ("logprobs", bool(body.logprobs), "no log-probabilities: `palier.attempts` has scores"),
        ("modalities", body.modalities not in (None, ["text"]), "text only"),
        ("response_format", _wants_structure(body), "plain text only"),
    )
    for field, is_wanted, what in wishes:
        if is_wanted:
            raise BadRequestProblem(f"`{field}` is not supported: {what}.", param=field)


def question_of(messages: list[Message], as_of: date | None = None) -> Question:
    """The last user message as a question in its language, with the turns before it, asked on the day
    ``as_of``. Raises BadRequestProblem.

    A question that is too long is refused. A turn before it is not (it was said, and long answers are ordinary): of it
    the last MAX_QUESTION_CHARS characters are read, as rungs keep the end of what they cut. What the guard refused is
    left out with its refusal: no rung shall read it, and one wrong refusal would be repeated with each question.
    """
    spoken = [(place, message) for place, message in enumerate(messages) if message.role not in _SILENT_ROLES]
    if not spoken or spoken[-1][1].role != "user":
        raise BadRequestProblem("The last message must have the role `user`: it is the question.", param="messages")
    turns = [Turn(message.role, _text(message, f"messages[{place}]")) for place, message in spoken]
    text = turns[-1].content
    if not text:
        raise BadRequestProblem("The question is empty.", param=f"messages[{spoken[-1][0]}].content")
    if len(text) > MAX_QUESTION_CHARS:
        raise BadRequestProblem(
            f"The question has {len(text)} characters; {MAX_QUESTION_CHARS} is the limit. Shorten it.",
            param=f"messages[{spoken[-1][0]}].content",
        )
    before = _without_refused(turns[:-1])[-MAX_HISTORY_TURNS:]
    history = tuple(Turn(turn.role, turn.content[-MAX_QUESTION_CHARS:]) for turn in before)
    earlier = [turn.content for turn in history if turn.role == "user"]
    return Question(text, detect_language(text, earlier), history, as_of)


def _without_refused(turns: Sequence[Turn]) -> list[Turn]:
    kept: list[Turn] = []
    for turn in turns:
        if turn.role == "assistant" and turn.content in _REFUSALS and kept and kept[-1].role == "user":
            kept.pop()
        else:
            kept.append(turn)
    return kept


def sticky_key(body: ChatRequest, key_id: str) -> str:
    """What an arm is assigned by: the end user where the caller names one, else the conversation.

    A conversation is known by its first user message, which every later request of it repeats.
    """
    user = body.safety_identifier or body.user
    if user:
        return f"{key_id}/user/{user}"
    first = next((message for message in body.messages if message.role == "user"), body.messages[-1])
    digest = hashlib.sha256(_text(first, "messages").encode("utf-8")).hexdigest()
    return f"{key_id}/conversation/{digest}"


def rung_of(model: str) -> str | None:
    """None for `palier`, the rung for `palier-<rung>`. Raises UnknownModelProblem for other families of
    names.
    """
    if model == MODEL:
        return None
    prefix = f"{MODEL}-"
    if not model.startswith(prefix) or model == prefix:
        raise UnknownModelProblem(
            f"There is no model {model!r}. `{MODEL}` is the cascade, `{MODEL}-<rung>` one rung: see GET /v1/models.",
            param="model",
        )
    return model.removeprefix(prefix)


def _text(message: Message, place: str) -> str:
    if message.role in ("tool", "function"):
        raise BadRequestProblem(f"The role `{message.role}` is not supported: there are no tools.", param=place)
    if message.content is None:
        return ""
    if isinstance(message.content, str):
        return whole(message.content).strip()
    texts = []
    for number, part in enumerate(message.content):
        if part.type != "text" or part.text is None:
            raise BadRequestProblem(
                f"A content part of type {part.type!r} is not supported: only `text` is read.",
                param=f"{place}.content[{number}]",
            )
        texts.append(part.text)
    return whole("\n".join(texts)).strip()


def _wants_structure(body: ChatRequest) -> bool:
    return body.response_format is not None and body.response_format.get("type") != "text"
