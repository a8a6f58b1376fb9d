"""The writer: a small instruct model run by llama.cpp inside this process, on one thread.

It is given little to read (a prompt costs it more than its answer does): the sentences around what the reader points
to, with what the reader would say, or those that share most words with the question where there is no reader. It asks
the reader itself instead of being told what another rung found: an answer then depends on the question and its passages
alone, and what was recorded is what is served. The price: the reader reads twice when it stands below on the ladder, a
tenth of the writer's time.
One question at a time: llama.cpp would interleave two, and both would be late.
"""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palier.adapters.catalogue import load_catalogue, sha256_file
from palier.adapters.onnx_reader import MODEL as READER_FILE
from palier.adapters.onnx_reader import OnnxReader
from palier.domain.answering import Hit, Question, RungAnswer
from palier.domain.evidence import (
    Evidence,
    Pointed,
    about_tokens,
    cut_evidence,
    evidence_messages,
    point_by_words,
    suggestions,
)
from palier.domain.money import cpu_cost_nanousd
from palier.domain.prompting import messages, read_reply
from palier.errors import IntegrityError

WRITER_FILE = "writer.gguf"
CONFIG = "config.json"
CONTEXT_TOKENS = 2048
EVIDENCE_TOKENS = 300
STOP = ("\n",)
"""An answer is one line; a small model that goes on would repeat itself."""
N_POINTED = 2
SHRINK = 0.8


class WriterConfig(BaseModel):
    """What a tuned writer was made from and for: the model of the catalogue that it is a change of, how its file is
    rounded, and how many words of evidence it learnt from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    quantisation: Literal["Q4_0", "Q4_1", "Q8_0"]
    max_words: int = Field(gt=0)


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

    def chat(
        self, chat_messages: Sequence[Mapping[str, str]], max_tokens: int, stop: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Greedy completion with the log-probability of each token; it ends before any of ``stop``."""
        request = {
            "messages": list(chat_messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 1,
            "stop": list(stop),
        }
        with self._lock:
            reply: dict[str, Any] = self._server.handle_chat_completions(request)
        return reply


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
        """One model call; its cost is the seconds of the one thread that it keeps busy.

        An answer from passages always cites: the one whose mark it wrote, or the first piece of evidence where it
        wrote none. Without passages it is asked with the prompt that other models are asked with.
        """
        started = time.perf_counter()
        evidence, suggested = self._evidence(question, [hit.passage.content for hit in hits[: self._limits.n_passages]])
        used = [hits[piece.passage_index] for piece in evidence]
        if used:
            pieces = [piece.text for piece in evidence]
            chat = evidence_messages(question.standalone, question.lang, pieces, suggested)
        else:
            chat = messages(self._prompt, question, ())
        reply = self._model.chat(chat, self._limits.max_new_tokens, STOP if used else ())
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

    def _evidence(self, question: Question, contents: Sequence[str]) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
        """Evidence and what is suggested, together at most EVIDENCE_TOKENS tokens: of text that is dear in tokens
        (numbers, tables) fewer words are taken.
        """
        pointed = point(self._reader, question.standalone, contents)
        max_words = self._limits.max_words
        while True:
            evidence = cut_evidence(contents, pointed, max_words)
            suggested = suggestions(pointed, evidence)
            if max_words <= 1 or _n_tokens(evidence, suggested) <= EVIDENCE_TOKENS:
                return evidence, suggested
            max_words = int(max_words * SHRINK)


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


def _n_tokens(evidence: Sequence[Evidence], suggested: Sequence[str]) -> int:
    return sum(map(about_tokens, [*(piece.text for piece in evidence), *suggested]))


def mean_logprob(choice: Mapping[str, Any]) -> float:
    """Mean log-probability of the answer's tokens; 0.0 where the endpoint gives none."""
    content = (choice.get("logprobs") or {}).get("content") or []
    values = [token["logprob"] for token in content if math.isfinite(token["logprob"])]
    return sum(values) / len(values) if values else 0.0
