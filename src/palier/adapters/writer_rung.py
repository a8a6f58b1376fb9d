"""The writer: a small instruct model run by llama.cpp inside this process, on one thread.

It is given little to read (a prompt costs it more than its answer does): the sentences around what the reader points
to, with what the reader would say, or those that share most words with the question where there is no reader. It asks
the reader itself instead of being told what another rung found: an answer then depends on the question and its passages
alone, and what was recorded is what is served. The price: the reader reads twice when it stands below on the ladder, a
tenth of the writer's time.
One question at a time: llama.cpp would interleave two, and both would be late. An answer's cost and latency are its
own: what it waits for another question's answer is in the latency of the request, for it says who else asked and
nothing of the rung.
"""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palier.adapters.catalogue import load_catalogue, sha256_file
from palier.adapters.onnx_reader import MODEL as READER_FILE
from palier.adapters.onnx_reader import OnnxReader
from palier.domain.answering import Hit, Question, RungAnswer
from palier.domain.evidence import (
    Pointed,
    about_tokens,
    ending,
    evidence_messages,
    fitting_evidence,
    point_by_words,
)
from palier.domain.money import cpu_cost_nanousd
from palier.domain.prompting import messages, read_reply
from palier.errors import IntegrityError, ModelEndpointError

WRITER_FILE = "writer.gguf"
CONFIG = "config.json"
CONTEXT_TOKENS = 2048
HISTORY_TOKENS = 800
"""Of the turns before a question that is asked without passages."""
STOP = ("\n",)
"""An answer is one line; a small model that goes on would repeat itself."""
N_POINTED = 2


class WriterConfig(BaseModel):
    """What a tuned writer was made from and for: the model of the catalogue that it is a change of, how its file is
    rounded, and how many words of evidence it learnt from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    quantisation: Literal["Q4_0", "Q4_1", "Q8_0"]
    max_words: int = Field(gt=0)


class LlamaCpp:
    """A GGUF model ready to chat; ``chat`` returns llama.cpp's OpenAI-shaped completion, with the ``seconds`` that the
    model was busy with it.
    """

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

    def chat(
        self, chat_messages: Sequence[Mapping[str, str]], max_tokens: int, stop: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Greedy completion with the log-probability of each token; it ends before any of ``stop``.

        ``seconds`` begin when the chats before it have ended. Raises ModelEndpointError where llama.cpp gives none: a
        chat that is longer than CONTEXT_TOKENS, say.
        """
        request = {
            "messages": list(chat_messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 1,
            "stop": list(stop),
        }
        with self._lock:
            started = time.perf_counter()
            reply: dict[str, Any] = self._server.handle_chat_completions(request)
            seconds = time.perf_counter() - started
        if not reply.get("choices"):
            reason = (reply.get("error") or {}).get("message", "what came back is no chat completion")
            raise ModelEndpointError(f"llama.cpp gave no answer ({reason}). Ask in fewer words, or shorten the prompt.")
        return {**reply, "seconds": seconds}


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """How much the writer reads and writes: passages to point into, words of evidence, tokens of an answer."""

    n_passages: int
    max_words: int
    max_new_tokens: int


class WriterRung:
    """A rung that writes its answer with a local model from a little evidence."""

    def __init__(
        self,
        name: str,
        model: LlamaCpp,
        reader: OnnxReader | None,
        limits: WriterLimits,
        *,
        prompt: str,
        cpu_usd_per_hour: float,
    ) -> None:
        self.name = name
        self._model = model
        self._reader = reader
        self._limits = limits
        self._prompt = prompt
        self._usd_per_hour = cpu_usd_per_hour

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        """One model call; raises ModelEndpointError when llama.cpp gives no answer.

        Its cost is the processor time that this thread spent pointing, and the seconds of the one thread that the model
        keeps busy; its latency is that of both, without the wait for a model that answers another question.

        An answer from passages always cites: the one whose mark it wrote, or the first piece of evidence where it
        wrote none. Without passages it is asked with the prompt that other models are asked with.
        """
        started, busy = time.perf_counter(), time.thread_time()
        chat, used = self._chat(question, hits[: self._limits.n_passages])
        busy, latency = time.thread_time() - busy, time.perf_counter() - started
        reply = self._model.chat(chat, self._limits.max_new_tokens, STOP if used else ())
        choice = reply["choices"][0]
        text, citations = read_reply(choice["message"]["content"] or "", used)
        return RungAnswer(
            rung=self.name,
            text=text,
            citations=citations,
            signals={"mean_logprob": mean_logprob(choice)},
            cost_nanousd=cpu_cost_nanousd(busy + reply["seconds"], self._usd_per_hour),
            latency_ms=1000 * (latency + reply["seconds"]),
        )

    def _chat(self, question: Question, hits: Sequence[Hit]) -> tuple[list[dict[str, str]], list[Hit]]:
        """What the model is asked, and the hit of each piece of evidence in it."""
        contents = [hit.passage.content for hit in hits]
        pointed = point(self._reader, question.standalone, contents)
        evidence, suggested = fitting_evidence(contents, pointed, self._limits.max_words)
        if not evidence:
            return messages(self._prompt, _shortened(question), ()), []
        pieces = [piece.text for piece in evidence]
        chat = evidence_messages(question.standalone, question.lang, pieces, suggested)
        return chat, [hits[piece.passage_index] for piece in evidence]


def tuned_writer(folder: Path, model: str) -> WriterConfig | None:
    """The config of the tuned writer in ``folder`` (`writer.gguf`, `config.json`) if it is a change of ``model``; None
    where there is none, or one of another base. Raises IntegrityError for a config that cannot be read.
    """
    if not (folder / WRITER_FILE).is_file():
        return None
    config = read_writer_config(folder)
    return config if config.base == model else None


def writer_hashes(models: Path, model: str) -> dict[str, str]:
    """The sha256 of every file that a writer rung of ``model`` would answer with, below the folder of ``models``: the
    tuned writer's or the catalogue's, and those of the reader that points to its evidence.
    """
    folders = {"writer": (WRITER_FILE, CONFIG)} if tuned_writer(models / "writer", model) else {}
    folders |= {"reader": (READER_FILE, CONFIG)} if (models / "reader" / READER_FILE).is_file() else {}
    hashes = {f"{name}/{file}": sha256_file(models / name / file) for name, files in folders.items() for file in files}
    return hashes if "writer" in folders else {**hashes, **load_catalogue()[model].files}


def read_writer_config(folder: Path) -> WriterConfig:
    """The config of a tuned writer, or of the starter; IntegrityError when it is absent or not in the form."""
    try:
        return WriterConfig.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        problem = IntegrityError(f"{folder / CONFIG} is no writer's config ({error}). Run `palier train-writer`.")
        raise problem from error


def point(reader: OnnxReader | None, question: str, contents: Sequence[str]) -> list[Pointed]:
    """Where an answer may stand: the reader's best readings, or the nearest sentences by words without a reader."""
    if reader is None:
        return point_by_words(question, contents, N_POINTED)
    readings = reader.read(question, contents)[:N_POINTED]
    return [Pointed(reading.passage_index, reading.start, reading.end, reading.text) for reading in readings]


def _shortened(question: Question) -> Question:
    """The question's `ending` after the last turns, which have HISTORY_TOKENS tokens together at most: what is read of
    a conversation where no evidence is.
    """
    sizes = accumulate(about_tokens(turn.content) for turn in reversed(question.history))
    n_turns = sum(size <= HISTORY_TOKENS for size in sizes)
    history = question.history[len(question.history) - n_turns :]
    return replace(question, text=ending(question.text), history=history)


def mean_logprob(choice: Mapping[str, Any]) -> float:
    """Mean log-probability of the answer's tokens; 0.0 where the endpoint gives none."""
    content = (choice.get("logprobs") or {}).get("content") or []
    values = [token["logprob"] for token in content if math.isfinite(token["logprob"])]
    return sum(values) / len(values) if values else 0.0
