"""One way of searching, asked all questions: what it ranked, how good that was, how long each part took.

Knows rankings and times, no search engine. A question is one row of the data with the passages that are right for
it. Differences between two ways are paired: both were asked the same questions, so hard ones cancel out.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.report import Metric, every, metric, percentile, tell
from palier.adapters.search import Encoder, Reranker
from palier.domain import ranking_metrics
from palier.domain.answering import Question

DEPTH = 100
WARM_UP = 10
LOSSES_TOLD = 30

Ranking = list[str]
Search = Callable[[Question], Ranking]


@dataclass(slots=True)
class Asked:
    """A question and the ids of the passages that are right for it; ``row_id`` is the data's own name for it."""

    question: Question
    relevant: set[str] = field(default_factory=set)
    row_id: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """The first 100 of each question, in the questions' order, and milliseconds: in all, and by part."""

    rankings: list[Ranking]
    times_ms: list[float]
    parts_ms: Mapping[str, list[float]]


class Stopwatch:
    """Adds up how long something ran."""

    def __init__(self) -> None:
        self._ms = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._ms += 1000 * (time.perf_counter() - started)

    def take_ms(self) -> float:
        """Milliseconds since this was last asked."""
        taken, self._ms = self._ms, 0.0
        return taken


class TimedEncoder(Stopwatch):
    """An encoder that knows how long it took."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with self.running():
            return self._encoder.embed(texts)


class TimedReranker(Stopwatch):
    """A reranker that knows how long it took."""

    def __init__(self, reranker: Reranker) -> None:
        super().__init__()
        self._reranker = reranker

    def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]:
        with self.running():
            return self._reranker.score(question, texts)


def ask_all(mode: str, search: Search, asked: Sequence[Asked], laps: Mapping[str, Stopwatch]) -> Answered:
    """Each question once, one after the other; the first ten are asked beforehand too, to warm up.

    What a query spends outside of ``laps`` counts as `search`: the request, the server, the fusion.
    """
    for entry in asked[:WARM_UP]:
        search(entry.question)
    rankings: list[Ranking] = []
    times_ms: list[float] = []
    parts_ms: dict[str, list[float]] = {name: [] for name in [*laps, "search"]}
    for lap in laps.values():
        lap.take_ms()
    for entry in every(asked, len(asked), mode):
        started = time.perf_counter()
        rankings.append(search(entry.question))
        times_ms.append(1000 * (time.perf_counter() - started))
        taken = {name: lap.take_ms() for name, lap in laps.items()}
        for name, ms in {**taken, "search": times_ms[-1] - sum(taken.values())}.items():
            parts_ms[name].append(ms)
    return Answered(rankings, times_ms, {name: values for name, values in parts_ms.items() if any(values)})


def measures(answered: Answered, asked: Sequence[Asked], rng: np.random.Generator) -> dict[str, Any]:
    """All metrics of one way of searching, with 95 % intervals, and percentiles of its times."""
    values = per_question(answered, asked)
    return {
        **{name: metric(values[name], rng) for name in values},
        "query_ms_p50": percentile(answered.times_ms, 50),
        "query_ms_p95": percentile(answered.times_ms, 95),
        "query_ms": {
            name: {"p50": percentile(times, 50), "p95": percentile(times, 95)}
            for name, times in answered.parts_ms.items()
        },
    }


def per_question(answered: Answered, asked: Sequence[Asked]) -> dict[str, list[float]]:
    """Every metric of every question."""
    pairs = [(ranking, entry.relevant) for ranking, entry in zip(answered.rankings, asked, strict=True)]
    return {
        "ndcg_at_10": [ranking_metrics.ndcg(*pair, 10) for pair in pairs],
        "mrr_at_10": [ranking_metrics.reciprocal_rank(*pair, 10) for pair in pairs],
        "recall_at_10": [ranking_metrics.recall(*pair, 10) for pair in pairs],
        "recall_at_100": [ranking_metrics.recall(*pair, 100) for pair in pairs],
        "hit_at_1": [ranking_metrics.hit(*pair, 1) for pair in pairs],
    }


def differences(
    better: Answered, rival: Answered, asked: Sequence[Asked], rng: np.random.Generator
) -> dict[str, Metric]:
    """Mean of (better - rival) over the questions, by metric, with a paired bootstrap interval."""
    left, right = per_question(better, asked), per_question(rival, asked)
    return {name: metric([a - b for a, b in zip(left[name], right[name], strict=True)], rng) for name in left}


def duel(better: Answered, rival: Answered, asked: Sequence[Asked]) -> dict[str, int]:
    """On how many questions the first right passage of ``better`` stands higher, as high, lower than the rival's."""
    ranks = [(rank_of(a, entry), rank_of(b, entry)) for a, b, entry in _together(better, rival, asked)]
    past = [(a or DEPTH + 1, b or DEPTH + 1) for a, b in ranks]
    return {
        "wins": sum(a < b for a, b in past),
        "ties": sum(a == b for a, b in past),
        "losses": sum(a > b for a, b in past),
    }


def losses(better: Answered, rival: Answered, asked: Sequence[Asked], names: tuple[str, str]) -> list[dict[str, Any]]:
    """Each question whose first right passage stands lower in ``better``, worst first: its row's id and both ranks.

    ``names`` are the modes, of ``better`` and of the rival. A rank is null past the first 100.
    """
    found = []
    for left, right, entry in _together(better, rival, asked):
        mine, theirs = rank_of(left, entry), rank_of(right, entry)
        if (mine or DEPTH + 1) > (theirs or DEPTH + 1):
            lost = _gain(theirs) - _gain(mine)
            found.append((lost, {"id": entry.row_id, f"{names[0]}_rank": mine, f"{names[1]}_rank": theirs}))
    return [told for _, told in sorted(found, key=lambda item: (-item[0], item[1]["id"]))]


def tell_losses(found: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> None:
    """The counts and the worst questions, for people."""
    tell(f"hybrid against bm25: {counts['wins']} wins, {counts['ties']} ties, {counts['losses']} losses")
    for row in found[:LOSSES_TOLD]:
        ranks = ", ".join(f"{name} {value or '> 100'}" for name, value in row.items() if name != "id")
        tell(f"  {row['id']}: {ranks}")


def rank_of(ranking: Ranking, entry: Asked) -> int | None:
    """Where the first right passage stands, from 1; None where it does not."""
    return next((rank for rank, key in enumerate(ranking, 1) if key in entry.relevant), None)


def _together(better: Answered, rival: Answered, asked: Sequence[Asked]) -> list[tuple[Ranking, Ranking, Asked]]:
    return list(zip(better.rankings, rival.rankings, asked, strict=True))


def _gain(rank: int | None) -> float:
    return 1 / float(np.log2(rank + 1)) if rank else 0.0
