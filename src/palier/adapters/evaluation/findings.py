"""All that `evaluate-models` found, as data: what the page shows, what metrics.json holds, what tracking gets.

Knows measures and their names only. The price of one flat name per number in tracking: `reader.f1.fr` there is
`rungs.reader.fr.f1` in the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from palier.adapters.evaluation.answer_measures import Measures
from palier.adapters.evaluation.noise_trials import UnderNoise
from palier.adapters.evaluation.scorer_measures import CurvePoint, ScorerMeasures
from palier.adapters.evaluation.writer_measures import Perplexity
from palier.domain.bootstrap import Interval
from palier.domain.slices import SliceGap

SCORER_KEYS = ("auc", "ece", "ece_by_chance", "brier")
BySlice = Mapping[str, Measures]
"""Measures of "all" rows and of each language."""


@dataclass
class Findings:
    """Filled piece by piece; ``not_measured`` says why a piece is not there."""

    n_questions: Mapping[str, int]
    rungs: dict[str, BySlice] = field(default_factory=dict)
    corpus_bleu: dict[str, float] = field(default_factory=dict)
    baselines: dict[str, BySlice] = field(default_factory=dict)
    scorer: dict[str, ScorerMeasures] = field(default_factory=dict)
    scorer_curve: Sequence[CurvePoint] = ()
    reader_curve: Sequence[CurvePoint] = ()
    noise: Mapping[str, Mapping[str, UnderNoise]] = field(default_factory=dict)
    slices: dict[str, dict[str, Sequence[SliceGap]]] = field(default_factory=dict)
    perplexity: Mapping[str, Perplexity] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @property
    def metrics(self) -> dict[str, float]:
        """Flat names for tracking, values without their intervals."""
        return {name: value for name, value in self._named() if value is not None}

    def _named(self) -> Iterator[tuple[str, float | None]]:
        for prefix, group in (("", self.rungs), ("baseline.", self.baselines)):
            for rung, slices in group.items():
                for name, measures in slices.items():
                    suffix = "" if name == "all" else f".{name}"
                    yield from ((f"{prefix}{rung}.{key}{suffix}", _value(one)) for key, one in measures.items())
        for rung, score in self.corpus_bleu.items():
            yield f"{rung}.corpus_bleu", score
        for rung, scorer in self.scorer.items():
            prefix = "scorer" if rung == "all" else f"scorer.{rung}"
            yield from ((f"{prefix}.{key}", _value(getattr(scorer, key))) for key in SCORER_KEYS)
        for what, points in (("scorer", self.scorer_curve), ("reader", self.reader_curve)):
            for point in points:
                at = round(100 * point.share)
                yield from ((f"curve.{what}.{key}.{at}", _value(one)) for key, one in point.measures.items())
        for rung, noises in self.noise.items():
            for noise, under in noises.items():
                yield f"noise.{rung}.{noise}.f1", under.f1.value
                yield f"noise.{rung}.{noise}.f1_change", under.change.value
        yield from ((f"{name}.perplexity", one.value) for name, one in self.perplexity.items())


def _value(found: Interval | float | None) -> float | None:
    return found.value if isinstance(found, Interval) else found


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return value.rounded(9)  # a reader's answer costs less than a millionth of a dollar
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
