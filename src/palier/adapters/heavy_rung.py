"""The heavy rung: any endpoint that speaks OpenAI's chat protocol, or Azure OpenAI's variant of it.

The official client does the talking (retries on 429 and 5xx, time-outs); this room prices the tokens that the
endpoint says it used and turns failures into ModelEndpointError, so that a cascade can go on without it.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
        self.name = name
        self._client = client
        self._params = params
        self._prompt = prompt

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        """One call of the endpoint; raises ModelEndpointError when it fails after the client's retries."""
        used = hits[: self._params.passages]
        started = time.perf_counter()
        reply = self._complete(messages(self._prompt, question, used))
        text, citations = read_reply(reply.choices[0].message.content or "", used)
        return RungAnswer(
            rung=self.name,
            text=text,
            citations=citations,
            signals={"mean_logprob": mean_logprob(reply.choices[0].model_dump())},
            cost_nanousd=_cost(reply, self._params.price),
            latency_ms=1000 * (time.perf_counter() - started),
        )

    def _complete(self, chat: list[dict[str, str]]) -> "ChatCompletion":
        import openai

        try:
            reply = self._client.chat.completions.create(
                model=self._params.model,
                messages=chat,  # type: ignore[arg-type]
                max_tokens=self._params.max_new_tokens,
                temperature=0,
                logprobs=True,
            )
        except openai.OpenAIError as error:
            raise self._failure(str(error)) from error
        if not getattr(reply, "choices", None):  # a web page, say, where the URL lacks its /v1
            raise self._failure("what came back is no chat completion")
        return reply

    def _failure(self, reason: str) -> ModelEndpointError:
        """The error with its remedy; some endpoints quote the key that they refuse, and it must not go on."""
        reason = reason.replace(self._client.api_key, "***")
        return ModelEndpointError(
            f"Rung {self.name!r}: model {self._params.model!r} gave no answer ({reason}). "
            "Check PALIER_HEAVY_URL, PALIER_HEAVY_API_KEY and the model's name."
        )


def _cost(reply: "ChatCompletion", price: TokenPrice) -> int:
    usage = reply.usage
    if usage is None:
        raise ModelEndpointError("The endpoint's answer has no `usage`: its cost cannot be known.")
    return token_cost_nanousd(usage.prompt_tokens, usage.completion_tokens, price)
