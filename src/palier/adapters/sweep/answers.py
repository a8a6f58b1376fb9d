"""Lets the readers of a ladder answer over what a configuration finds, and remembers every answer by what was read.

Knows rungs and hits; how good an answer is, the stage tells. The price: nothing is asked of rungs that cost money or
minutes (heavy, writer), so the answers are the readers' alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from palier.adapters.remembered import Remembered, content_key
from palier.domain.answering import Hit, Question, Retriever, Rung

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Said:
    """What one rung said to one question: the answer (empty: none), its cost and time."""

    text: str
    cost_nanousd: int
    latency_ms: float


@dataclass(frozen=True)
class ReadingRung:
    """A rung, how many passages it reads, and what else its answers depend on."""

    rung: Rung
    n_passages: int
    fingerprint: str


def ask_readers(
    rungs: Sequence[ReadingRung],
    retriever: Retriever,
    questions: Mapping[str, Question],
    memory: Remembered,
    progress: Progress,
) -> dict[str, list[Said]]:
    """The answers of each rung (by name) to each question, in their order. Raises SearchError."""
    depth = max((rung.n_passages for rung in rungs), default=0)
    said: dict[str, list[Said]] = {rung.rung.name: [] for rung in rungs}
    for done, question in enumerate(questions.values(), 1):
        hits = retriever.search(question, depth)
        for rung in rungs:
            said[rung.rung.name].append(_ask(rung, question, hits[: rung.n_passages], memory))
        progress(done, len(questions), "readers answer")
    return said


def _ask(rung: ReadingRung, question: Question, hits: Sequence[Hit], memory: Remembered) -> Said:
    read = [hit.passage.content for hit in hits]
    key = content_key("answer", rung.fingerprint, question.standalone, question.lang, read)
    if (known := memory.get(key)) is not None:
        return Said(**known)
    answer = rung.rung.answer(question, hits)
    said = Said(answer.text, answer.cost_nanousd, answer.latency_ms)
    memory.put(key, asdict(said))
    return said
