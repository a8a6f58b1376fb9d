"""What a sweep leaves on disk: every point with its intervals as JSON, plots of quality against price, and the YAML.

Knows a finished study and draws no conclusion of its own. The price: the arrays of single questions are not kept here
(they are in the sweep's memory), so a reader of the file sees intervals, not pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palier.adapters.params_file import section_yaml
from palier.adapters.pareto_plot import Axes, PlotPoint, draw_pareto
from palier.adapters.sweep.corpus import SweptCorpus
from palier.adapters.workspace import write_json, write_text
from palier.domain.bootstrap import Interval, mean_interval
from palier.domain.pareto import pareto_front
from palier.domain.retrieval_choice import Configuration, Rival, Rule, answer_difference, best_tuned, interval_table
from palier.domain.retrieval_sweep import Point
from palier.params import Params


@dataclass(frozen=True)
class Study:
    """A finished sweep. ``current`` is what is in use; ``chosen`` is one of ``rivals``, or ``current``."""

    revision: str
    params: Params
    corpus: SweptCorpus
    points: Sequence[Point]
    current: Rival
    rivals: Sequence[Rival]
    chosen: Rival
    reason: str
    rule: Rule
    skipped: Mapping[str, str]
    n_remembered: int

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """Params of the choice that differ from those in use, by section."""
        now = self.params.retrieval.model_dump(mode="json")
        then = self.retrieval
        found = {"retrieval": {key: value for key, value in then.items() if value != now[key]}}
        cut = asdict(self.chosen.configuration.setting.chunking)
        used = asdict(self.current.configuration.setting.chunking)
        found["version_documents"] = {key: value for key, value in cut.items() if value != used[key]}
        return {section: values for section, values in found.items() if values}

    @property
    def retrieval(self) -> dict[str, Any]:
        """The whole retrieval section of the choice; the present one, to the letter, where nothing replaces it."""
        if self.chosen is self.current:
            return self.params.retrieval.model_dump(mode="json")
        return self.chosen.configuration.retrieval(self.params.retrieval).model_dump(mode="json")


def write_study(folder: Path, study: Study) -> tuple[str, ...]:
    """Write results.json, retrieval.yaml and the plots into ``folder``; the names of the files."""
    rng = np.random.default_rng(study.params.seed)
    tuned = [best_tuned("", point) for point in study.points]
    write_json(folder / "results.json", _results(study, tuned, rng))
    write_text(folder / "retrieval.yaml", section_yaml("retrieval", study.retrieval))
    named = [study.current, *study.rivals]
    dots = [PlotPoint(item.ms_p50, item.quality) for item in tuned]
    dots += [
        PlotPoint(item.configuration.ms_p50, item.configuration.quality, item.configuration.name) for item in named
    ]
    axes = Axes("Retrieval on validation questions", "query, ms (p50)", "nDCG@10, mean of the languages")
    written = draw_pareto(dots, axes, folder, "retrieval")
    answered = [(item.configuration.name, item.answered) for item in named if item.answered]
    if answered:
        dots = [PlotPoint(1000 * each.cost_usd, float(each.f1.mean()), name) for name, each in answered]
        axes = Axes("Answers of the readers on validation questions", "USD for 1,000 answers", "F1")
        written += draw_pareto(dots, axes, folder, "answers")
    return ("results.json", "retrieval.yaml", *(path.name for path in written))


def _results(study: Study, tuned: Sequence[Configuration], rng: np.random.Generator) -> dict[str, Any]:
    front = set(pareto_front([(item.ms_p50, item.quality) for item in tuned]))
    return {
        "corpus_revision": study.revision,
        "n_questions": {lang: len(questions) for lang, questions in study.corpus.questions.items()},
        "n_passages": {
            f"{chunking.passage_words} words, {chunking.overlap_words} shared": len(cut.passages)
            for chunking, cut in study.corpus.cuts.items()
        },
        "grid": study.params.sweep_retrieval.model_dump(mode="json"),
        "skipped": dict(study.skipped),
        "in_use": _rival(study.current, study, rng),
        "rivals": [_rival(rival, study, rng) for rival in study.rivals],
        "chosen": study.chosen.configuration.name,
        "reason": study.reason,
        "changes": study.changes,
        "points": [{**_configuration(item, rng), "on_front": i in front} for i, item in enumerate(tuned)],
    }


def _configuration(item: Configuration, rng: np.random.Generator) -> dict[str, Any]:
    """Settings, each language's tuning, metrics and times. A tuned point was tuned on the questions it is told on."""
    return {
        "setting": asdict(item.setting),
        "tunings": {lang: asdict(tuning) for lang, tuning in item.tunings.items()},
        "rereads": {lang: asdict(reread) for lang, reread in item.rereads.items() if reread.depth},
        "metrics": interval_table(item, rng),
        "ndcg_at_10": round(item.quality, 4),
        "query_ms_p50": round(item.ms_p50, 2),
        "query_ms_p95": round(item.ms_p95, 2),
    }


def _rival(rival: Rival, study: Study, rng: np.random.Generator) -> dict[str, Any]:
    told: dict[str, Any] = {"name": rival.configuration.name, **_configuration(rival.configuration, rng)}
    if rival.choice:
        told["ndcg_at_10_gain"] = rival.choice.difference.rounded()
        told["ndcg_at_10_gain_by_language"] = {
            lang: interval.rounded() for lang, interval in rival.choice.by_language.items()
        }
        told["verdict"] = rival.verdict
    if rival.answered:
        told["answers"] = {
            "f1": mean_interval(rival.answered.f1, rng).rounded(),
            "f1_gain": _rounded(answer_difference(rival, study.current, study.rule)),
            "cost_usd": rival.answered.cost_usd,
            "latency_ms": round(rival.answered.latency_ms, 1),
        }
    return told


def _rounded(interval: Interval | None) -> dict[str, float | int] | None:
    return interval.rounded() if interval else None
