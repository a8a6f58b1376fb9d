"""Recorded outcomes as arrays: one row per question, one column per rung.

What is believed of answers may change as more are seen: where that is known, the table holds it for each set of rungs.

Refuses to know texts, models and files. A rung that was not recorded for a language (it did not earn its
place there) has NaN quality on that language's rows and is passed over there, as `climb` passes it over.
Price paid: a rung with holes inside one language serves that language not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from palier.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class OutcomeTable:
    """What R rungs said to n questions.

    ``quality`` (n, R) is 0..1, NaN where not recorded; ``cost_nanousd`` (n, R) int64; ``score`` (n, R) is the
    calibrated, out-of-fold P(acceptable), 0..1; ``latency_ms`` (n, R) and ``languages`` (n) are optional;
    ``abstain_quality`` (n) is what "I don't know" is worth, where that is known. ``promise`` (n, R) is P(right) before
    the rung is asked, and ``beliefs[set of rungs]`` (n, size of the set) P(right) of each one's answer when those of
    all were seen, rungs in rising order; both or none. Raises InputError on anything else.
    """

    query_ids: Sequence[str]
    rungs: tuple[str, ...]
    quality: Floats
    cost_nanousd: Ints
    score: Floats
    latency_ms: Floats | None = None
    languages: NDArray[np.str_] | None = None
    split: NDArray[np.str_] | None = None
    abstain_quality: Floats | None = None
    promise: Floats | None = None
    beliefs: Mapping[frozenset[int], Floats] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.query_ids), len(self.rungs))
        if min(shape) == 0:
            raise InputError(f"No outcomes: {shape[0]} questions, {shape[1]} rungs. Record outcomes first.")
        for name in ("quality", "cost_nanousd", "score", "latency_ms", "promise"):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise InputError(f"{name} has the shape {array.shape}, expected {shape} (questions, rungs).")
        if len(set(self.rungs)) != len(self.rungs):
            raise InputError(f"A rung is named twice: {self.rungs}.")
        self._check_values()

    def _check_values(self) -> None:
        known = self.recorded
        if not known.any():
            raise InputError("No rung has a recorded quality. Record outcomes first.")
        for name, array in (("quality", self.quality), ("score", self.score)):
            values = array[known]
            if not np.all((values >= 0) & (values <= 1)):
                wrong = values[~((values >= 0) & (values <= 1))][0]
                raise InputError(f"A {name} is {wrong}, outside 0..1: mend the recorded outcomes.")
        if (self.cost_nanousd[known] < 0).any():
            raise InputError("A cost is negative: mend the recorded outcomes.")

    @property
    def n_rows(self) -> int:
        return len(self.query_ids)

    @property
    def n_rungs(self) -> int:
        return len(self.rungs)

    @cached_property
    def recorded(self) -> Bools:
        """(n, R): was this rung's answer to this question recorded?"""
        return ~np.isnan(self.quality)

    @cached_property
    def row_languages(self) -> NDArray[np.str_]:
        """(n): each row's language; one nameless language where none is given."""
        return np.full(self.n_rows, "") if self.languages is None else np.asarray(self.languages)

    @cached_property
    def serves(self) -> Bools:
        """(n, R): True where the rung was recorded for the whole language of the row."""
        served = np.zeros((self.n_rows, self.n_rungs), dtype=np.bool_)
        for language in np.unique(self.row_languages):
            rows = self.row_languages == language
            served[rows] = self.recorded[rows].all(axis=0)
        return served

    def believed(self, seen: Sequence[int]) -> Floats:
        """(n, |seen|): P(right) of each answer when all of ``seen`` were given, in their order; of one, its score.

        Raises KeyError for a set that the table does not hold.
        """
        if len(seen) == 1:
            return self.score[:, list(seen)]
        rising = sorted(seen)
        return (self.beliefs or {})[frozenset(seen)][:, [rising.index(rung) for rung in seen]]

    def languages_of(self, rung: int) -> tuple[str, ...]:
        """The languages that the rung serves, sorted."""
        served = self.serves[:, rung]
        return tuple(str(name) for name in np.unique(self.row_languages[served]))

    def mean_cost(self, rung: int) -> float:
        """Mean cost in nano-dollars over the questions that the rung serves; NaN when it serves none."""
        served = self.serves[:, rung]
        return float(self.cost_nanousd[served, rung].mean()) if served.any() else float("nan")

    def take(self, rows: Ints | Bools) -> "OutcomeTable":
        """The table of the chosen rows; what a rung serves is decided anew."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return OutcomeTable(
            [self.query_ids[i] for i in index],
            self.rungs,
            self.quality[index],
            self.cost_nanousd[index],
            self.score[index],
            None if self.latency_ms is None else self.latency_ms[index],
            None if self.languages is None else self.languages[index],
            None if self.split is None else self.split[index],
            None if self.abstain_quality is None else self.abstain_quality[index],
            None if self.promise is None else self.promise[index],
            None if self.beliefs is None else {rungs: told[index] for rungs, told in self.beliefs.items()},
        )
