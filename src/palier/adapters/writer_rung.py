"""The writer: a small instruct model run by llama.cpp inside this process, on one thread.

It is given little to read (a prompt costs it more than its answer does). One question at a time: llama.cpp would
interleave two, and both would be late.
"""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palier.domain.answering import Hit, Question, RungAnswer
from palier.domain.money import cpu_cost_nanousd
from palier.domain.prompting import messages, read_reply

CONTEXT_TOKENS = 2048


class LlamaCpp:
    """A GGUF model ready to chat; ``chat`` returns llama.cpp's OpenAI-shaped completion."""

    def __init__(self, gguf: Path, *, n_threads: int = 1) -> None:
        import xllamacpp  # loads 100 MB of native code: only where a writer is on the ladder

        params = xllamacpp.CommonParams()
        params.model.path = str(gguf)
        params.n_ctx = CONTEXT_TOKENS
        params.n_parallel = 1
        params.cpuparams.n_threads = n_threads
        params.cpuparams_batch.n_threads = n_threads
        params.warmup = False
        params.verbosity = 0
        self._server = xllamacpp.Server(params)
        self._lock = threading.Lock()

    def chat(self, chat_messages: Sequence[Mapping[str, str]], max_tokens: int) -> dict[str, Any]:
        """Greedy completion with the log-probability of each token."""
        request = {
            "messages": list(chat_messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 1,
        }
        with self._lock:
            reply: dict[str, Any] = self._server.handle_chat_completions(request)
        return reply


class WriterRung:
    """A rung that writes its answer with a local model over the best ``n_passages``."""

    def __init__(
        self,
        name: str,
        model: LlamaCpp,
        *,
        prompt: str,
        n_passages: int,
        max_prompt_words: int,
        max_new_tokens: int,
        cpu_usd_per_hour: float,
    ) -> None:
        self.name = name
        self._model = model
        self._prompt = prompt
        self._n_passages = n_passages
        self._max_prompt_words = max_prompt_words
        self._max_new_tokens = max_new_tokens
        self._usd_per_hour = cpu_usd_per_hour

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        """One model call; its cost is the seconds of the one thread that it keeps busy."""
        used = hits[: self._n_passages]
        started = time.perf_counter()
        chat = messages(self._prompt, question, used, self._max_prompt_words)
        reply = self._model.chat(chat, self._max_new_tokens)
        seconds = time.perf_counter() - started
        choice = reply["choices"][0]
        text, citations = read_reply(choice["message"]["content"] or "", used)
        return RungAnswer(
            rung=self.name,
            text=text,
            citations=citations,
            signals={"mean_logprob": mean_logprob(choice)},
            cost_nanousd=cpu_cost_nanousd(seconds, self._usd_per_hour),
            latency_ms=1000 * seconds,
        )


def mean_logprob(choice: Mapping[str, Any]) -> float:
    """Mean log-probability of the answer's tokens; 0.0 where the endpoint gives none."""
    content = (choice.get("logprobs") or {}).get("content") or []
    values = [token["logprob"] for token in content if math.isfinite(token["logprob"])]
    return sum(values) / len(values) if values else 0.0
