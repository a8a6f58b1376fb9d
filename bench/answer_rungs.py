"""The rungs that `bench answers` asks: the readers of the ladder and, where it is named, the writer beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.exported_models import exported_writer
from bench.report import percentile
from palier.adapters.catalogue import resolve
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.reader_rung import ReaderRung
from palier.adapters.writer_adapter import gguf_of
from palier.adapters.writer_rung import WRITER_FILE, LlamaCpp, WriterLimits, WriterRung, read_writer_config
from palier.domain.answering import Hit, Question, Rung, RungAnswer
from palier.domain.documents import Lang
from palier.domain.language import detect_language
from palier.errors import InputError
from palier.params import Params
from palier.params import ReaderRung as ReaderRungParams
from palier.params import WriterRung as WriterRungParams

LocalRung = ReaderRungParams | WriterRungParams


class TimedModel(LlamaCpp):
    """A GGUF model that keeps what llama.cpp says of each reply's time."""

    def __init__(self, gguf: Path, *, n_threads: int = 1) -> None:
        super().__init__(gguf, n_threads=n_threads)
        self.timings: list[Mapping[str, float]] = []

    def chat(
        self, chat_messages: Sequence[Mapping[str, str]], max_tokens: int, stop: Sequence[str] = ()
    ) -> dict[str, Any]:
        reply = super().chat(chat_messages, max_tokens, stop)
        self.timings.append(reply["timings"])
        return reply


class MeasuredWriter(WriterRung):
    """A writer that remembers how long its model took, and which language it was asked and answered in."""

    def __init__(
        self, name: str, model: TimedModel, reader: OnnxReader, limits: WriterLimits, *, is_tuned: bool, **told: Any
    ) -> None:
        super().__init__(name, model, reader, limits, **told)
        self.is_tuned = is_tuned
        self._timed = model
        self._said: list[tuple[Lang, str]] = []

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        answer = super().answer(question, hits)
        self._said.append((question.lang, answer.text))
        return answer

    def in_language(self) -> list[float]:
        """Of each answer that is not silence, whether it is in the question's language, as far as one can tell."""
        return [float(detect_language(text, default=lang) == lang) for lang, text in self._said if text]

    def speed(self) -> dict[str, float | None]:
        """Median tokens a second, of prompts and of answers, and milliseconds until the first token.

        llama.cpp keeps what it has read of the instruction, as it does when it serves.
        """
        read = [timing for timing in self._timed.timings if timing["prompt_n"] and timing["prompt_ms"]]
        written = [timing for timing in self._timed.timings if timing["predicted_n"] > 1 and timing["predicted_ms"]]
        return {
            "prompt_tokens": percentile([one["prompt_n"] for one in read], 50),
            "prompt_tokens_per_s": percentile([1e3 * one["prompt_n"] / one["prompt_ms"] for one in read], 50),
            "tokens_per_s": percentile([1e3 * one["predicted_n"] / one["predicted_ms"] for one in written], 50),
            "first_token_ms_p50": percentile([one["prompt_ms"] for one in read], 50),
            "first_token_ms_p95": percentile([one["prompt_ms"] for one in read], 95),
        }


def with_rungs(params: Params, names: Sequence[str]) -> Params:
    """``params`` with the rungs of ``names``, or with all readers where none is named.

    Raises InputError for a name that is no reader or writer of the ladder.
    """
    local = {name: rung for name, rung in params.ladder.rungs.items() if isinstance(rung, LocalRung)}
    unknown = sorted(set(names) - set(local))
    if unknown:
        raise InputError(f"No local rung {', '.join(unknown)} in params.yaml. There are: {', '.join(local)}.")
    chosen = {
        name: rung
        for name, rung in local.items()
        if name in names or (not names and isinstance(rung, ReaderRungParams))
    }
    return params.model_copy(update={"ladder": params.ladder.model_copy(update={"rungs": chosen})})


def readers_of(params: Params) -> dict[str, ReaderRungParams]:
    """The reader rungs of the ladder, by name."""
    return {name: rung for name, rung in params.ladder.rungs.items() if isinstance(rung, ReaderRungParams)}


def rungs_of(params: Params, reader: OnnxReader) -> dict[str, Rung]:
    """All rungs of the ladder, which are readers and writers."""
    rungs: dict[str, Rung] = {}
    for name, one in params.ladder.rungs.items():
        if isinstance(one, ReaderRungParams):
            hourly = params.ladder.cpu_usd_per_hour
            rungs[name] = ReaderRung(name, reader, one.passages, hourly, one.retrieval_weight)
        else:
            rungs[name] = _writer(name, params, exported_writer(params), reader)
    return rungs


def untuned_writer(name: str, params: Params, reader: OnnxReader) -> "MeasuredWriter":
    """The writer rung ``name`` with its model as it comes."""
    return _writer(name, params, None, reader)


def _writer(name: str, params: Params, tuned: Path | None, reader: OnnxReader) -> "MeasuredWriter":
    """As a release loads it: the writer in the folder ``tuned``, or else the rung's model."""
    rung = params.ladder.rungs[name]
    assert isinstance(rung, WriterRungParams)
    return MeasuredWriter(
        name,
        TimedModel(tuned / WRITER_FILE if tuned else gguf_of(resolve(rung.model))),
        reader,
        WriterLimits(
            rung.passages, read_writer_config(tuned).max_words if tuned else rung.max_prompt_words, rung.max_new_tokens
        ),
        is_tuned=tuned is not None,
        prompt=params.prompt,
        cpu_usd_per_hour=params.ladder.cpu_usd_per_hour,
    )
