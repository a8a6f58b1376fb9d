"""The heavy rung: any endpoint that speaks OpenAI's chat protocol, or Azure OpenAI's variant of it.

The official client does the talking (retries on 429 and 5xx, time-outs); this room prices the tokens that the
endpoint says it used and turns failures into ModelEndpointError, so that a cascade can go on without it.

Models differ in what they let a caller set: some refuse `temperature` or `logprobs`, newer ones want
`max_completion_tokens` for `max_tokens`. A field of ours that an endpoint refuses by name is left out from then on; the
price is one refused request per field, model and process, which nobody is charged for. What stands in the params'
`request` is the owner's word and is never left out.

What an endpoint refuses for the sake of one question (a content filter, a context that is too long) is an error of its
own kind: it stays so however often it is asked, and says nothing of the other questions.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from palier.adapters.writer_rung import mean_logprob
from palier.domain.answering import Hit, Question, RungAnswer
from palier.domain.money import TokenPrice, token_cost_nanousd
from palier.domain.prompting import messages, read_reply
from palier.errors import ModelEndpointError, ParamsError
from palier.params import HeavyRung as HeavyRungParams
from palier.settings import Settings

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletion

TIMEOUT_S = 30.0


class RefusedQuestionError(ModelEndpointError):
    """The endpoint refuses this very question, and would again; ``reason`` is the same for alike refusals."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def heavy_client(provider: str, settings: Settings) -> "openai.OpenAI":
    """The official client for the endpoint in the environment; raises ParamsError when it is not set."""
    import openai  # more than a second: only where a heavy rung is on the ladder

    if not settings.heavy_url:
        raise ParamsError(
            "The ladder has a heavy rung, but PALIER_HEAVY_URL is not set. "
            "Set it (and PALIER_HEAVY_API_KEY), or take the rung out of params.yaml."
        )
    key = settings.heavy_api_key.get_secret_value() if settings.heavy_api_key else "none"
    if provider == "azure":
        return openai.AzureOpenAI(
            azure_endpoint=settings.heavy_url,
            api_key=key,
            api_version=settings.heavy_api_version or "2024-10-21",
            timeout=TIMEOUT_S,
        )
    return openai.OpenAI(base_url=settings.heavy_url, api_key=key, timeout=TIMEOUT_S)


@dataclass
class ChatEndpoint:
    """One model behind a client: asks, leaves out what the endpoint refuses, prices what it used."""

    client: "openai.OpenAI"
    model: str
    max_new_tokens: int
    price: TokenPrice
    request: Mapping[str, Any] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    """Fields of ours that the endpoint does not take; replaced as a whole, so that threads may share it."""

    def ask(self, chat: Sequence[Mapping[str, str]]) -> "tuple[ChatCompletion, int]":
        """The completion and its cost in nano-dollars. Raises ModelEndpointError after the client's retries, and
        RefusedQuestionError at once.
        """
        reply = self._complete(chat)
        choices = getattr(reply, "choices", None)
        if not choices or choices[0].message is None:  # a web page, say, where the URL lacks its /v1
            raise self.failure("what came back is no chat completion")
        used = reply.usage
        if used is None or used.prompt_tokens is None or used.completion_tokens is None:
            raise ModelEndpointError("The endpoint's answer has no `usage`: its cost cannot be known.")
        return reply, token_cost_nanousd(used.prompt_tokens, used.completion_tokens, self.price)

    def fields(self) -> dict[str, Any]:
        """What is sent beside model and messages: ours, less what was refused, under what the owner asks for."""
        refused = self.refused
        ours: dict[str, Any] = {"max_tokens": self.max_new_tokens, "temperature": 0, "logprobs": True}
        if "max_tokens" in refused:
            ours["max_completion_tokens"] = ours["max_tokens"]
        asked = {**{name: value for name, value in ours.items() if name not in refused}, **self.request}
        return {name: value for name, value in asked.items() if value is not None}

    def failure(self, reason: str) -> ModelEndpointError:
        """The error with its remedy; some endpoints quote the key that they refuse, and it must not go on."""
        return ModelEndpointError(
            f"Model {self.model!r} gave no answer ({self._without_key(reason)}). "
            "Check PALIER_HEAVY_URL, PALIER_HEAVY_API_KEY and the model's name."
        )

    def _without_key(self, reason: str) -> str:
        return reason.replace(self.client.api_key, "***")

    def _complete(self, chat: Sequence[Mapping[str, str]]) -> "ChatCompletion":
        import openai

        while True:
            sent = self.fields()
            try:
                return self._send(chat, sent)
            except (openai.BadRequestError, openai.PermissionDeniedError, openai.UnprocessableEntityError) as error:
                unwanted = refused_fields(error.param, str(error), [name for name in sent if name not in self.request])
                if not unwanted:
                    raise self._error_of(error, sent) from error
                self.refused = self.refused | unwanted
            except openai.APIStatusError as error:
                raise self._error_of(error, sent) from error
            except openai.OpenAIError as error:
                raise self.failure(str(error)) from error
            except ValueError as error:  # the client reads JSON without looking after its errors
                raise self.failure(f"what came back is no whole JSON: {error}") from error

    def _error_of(self, error: "openai.APIStatusError", sent: Mapping[str, Any]) -> ModelEndpointError:
        is_owners_field = bool(refused_fields(error.param, str(error), list(sent)))
        if is_owners_field or not refuses_question(error.status_code, f"{error.code} {error.param} {error}"):
            return self.failure(str(error))
        told = error.code if error.code and not error.code.isdigit() else _message_in(error.body)
        reason = self._without_key(f"HTTP {error.status_code}, {told or error.message}")[:MOST_REASON_CHARS]
        return RefusedQuestionError(
            f"Model {self.model!r} refuses the question ({reason}). Ask otherwise, or change the endpoint's content "
            "filter or limits.",
            reason,
        )

    def _send(self, chat: Sequence[Mapping[str, str]], sent: Mapping[str, Any]) -> "ChatCompletion":
        known = {name: sent[name] for name in _CLIENT_FIELDS if name in sent}
        extra = {name: value for name, value in sent.items() if name not in known}
        reply: ChatCompletion = self.client.chat.completions.create(
            model=self.model,
            messages=list(chat),  # type: ignore[arg-type]
            extra_body=extra or None,
            **known,
        )
        return reply


MOST_REASON_CHARS = 200
_CLIENT_FIELDS = ("max_tokens", "max_completion_tokens", "temperature", "logprobs")
_REFUSAL = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allow|extra (?:fields|inputs)",
    re.IGNORECASE,
)


def refused_fields(param: str | None, message: str, sent: Sequence[str]) -> frozenset[str]:
    """Which of the fields ``sent`` an endpoint's 400, 403 or 422 refuses: the one that it names as ``param``, else the
    one that its message names first. Empty where the error is about something else (a prompt that is too long, say).
    """
    if not _REFUSAL.search(message):
        return frozenset()
    if param is not None and param in sent:
        return frozenset({param})
    found = [(match.start(), name) for name in sent if (match := re.search(rf"\b{name}\b", message))]
    return frozenset({min(found)[1]}) if found and param is None else frozenset()


_REFUSING = (400, 413, 422)
_NOT_THE_QUESTION = re.compile(
    r"model.{0,80}(?:not.found|not exist|decommissioned)|invalid.model|api.?(?:key|version)|billing|quota|credit",
    re.IGNORECASE | re.DOTALL,
)


def refuses_question(status: int, told: str) -> bool:
    """Whether an endpoint's error is about the question alone. ``told`` is all that it says: some say with a 400 too
    that the model is not there, the key is wrong or the account is empty, which would be so for every question.
    """
    return status in _REFUSING and not _NOT_THE_QUESTION.search(told)


def _message_in(body: object) -> str | None:
    told = body.get("message") if isinstance(body, dict) else None
    return told if isinstance(told, str) else None


class HeavyRung:
    """A rung behind HTTP, paid by the token."""

    def __init__(
        self,
        name: str,
        client: "openai.OpenAI",
        params: HeavyRungParams,
        *,
        prompt: str,
    ) -> None:
        """``prompt`` is the release's; the rung's own, where its params have one, goes before it."""
        self.name = name
        self._endpoint = ChatEndpoint(client, params.model, params.max_new_tokens, params.price, params.request)
        self._passages = params.passages
        self._prompt = params.prompt or prompt

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        """One call of the endpoint; raises ModelEndpointError when it fails after the client's retries, and its
        RefusedQuestionError when it will not have this question.
        """
        used = hits[: self._passages]
        started = time.perf_counter()
        reply, cost = self._ask(messages(self._prompt, question, used))
        text, citations = read_reply(reply.choices[0].message.content or "", used)
        return RungAnswer(
            rung=self.name,
            text=text,
            citations=citations,
            signals={"mean_logprob": mean_logprob(reply.choices[0].model_dump())},
            cost_nanousd=cost,
            latency_ms=1000 * (time.perf_counter() - started),
        )

    def _ask(self, chat: Sequence[Mapping[str, str]]) -> "tuple[ChatCompletion, int]":
        try:
            return self._endpoint.ask(chat)
        except RefusedQuestionError as error:
            raise RefusedQuestionError(f"Rung {self.name!r}: {error}", error.reason) from error
        except ModelEndpointError as error:
            raise ModelEndpointError(f"Rung {self.name!r}: {error}") from error
