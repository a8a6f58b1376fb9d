"""Whether a new index may become live: what it is asked, and how its answers are judged.

Pure: who asks, and what, is told here; asking is `adapters.index_gate`'s. Three things are looked at. Counts: all
passages are there. Probes: some of the index's own passages, which must be found by their words and by their vector;
that shows that analysers, vectors and languages work, not that they work well. Quality: golden questions, against the
live index, question by question.

What is right for a golden question is found anew in each index: the passages that hold its quote. So two indexes can be
compared whose passages were cut differently or have other ids. A question whose quote one of the two does not hold says
nothing about which searches better, and is left out.

An index has to show that it is not worse by more than the margin, so few questions that differ much refuse it. The
price: a change of everything (another encoder, other passages) on a small golden set may be refused though it is good.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from palier.domain.bootstrap import Interval, mean_interval
from palier.domain.documents import Lang, Passage, sha256_text
from palier.domain.golden import GoldenQuestion, Split

METRIC = "ndcg_at_10"
DEPTH = 10
MAX_QUESTIONS = 400
"""Enough to see .03, few enough to ask in seconds, and to keep their scores with the index."""
MIN_QUESTIONS = 10
"""Fewer show nothing either way: then counts and probes decide."""
PROBES_PER_LANGUAGE = 10
MIN_PROBES_FOUND = 0.8
"""A search that works may miss one that is all but a copy of many others; one that is broken misses nearly all."""
_PROBE_WORDS = 30
_BOOTSTRAP_SAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Quality:
    """Mean nDCG@10 of both indexes over the ``n`` questions that both hold the answer to; None where none was asked.

    ``low`` bounds the mean difference from below (one-sided). ``compared_with`` says how the live index's figure was
    got: "asked now", "recorded" (its own encoder is gone), or why there is none.
    """

    n: int
    new: float | None
    live: float | None
    difference: float | None
    low: float | None
    compared_with: str


@dataclass(frozen=True, slots=True)
class GateReport:
    """What was found; ``findings`` are sentences, each of them a reason to refuse."""

    findings: tuple[str, ...]
    n_probes: int
    quality: Quality

    @property
    def is_accepted(self) -> bool:
        return not self.findings

    @property
    def metrics(self) -> dict[str, float]:
        """For tracking: only what was measured."""
        named = {
            f"gate_{name}": value for name, value in asdict(self.quality).items() if isinstance(value, int | float)
        }
        return {"gate_n_probes": self.n_probes, **named}


def gate_questions(rows: Sequence[GoldenQuestion]) -> list[GoldenQuestion]:
    """Those to ask: answerable ones of the validation split, of the training split where there are none.

    Never the test split: what decides about releases may not choose the index. Past `MAX_QUESTIONS` a fixed sample,
    which changes little when rows come and go.
    """
    usable = [row for row in rows if row.answerable and row.passage_ids]
    splits: tuple[Split, ...] = ("validation", "train")
    chosen = next((part for split in splits if (part := [row for row in usable if row.split == split])), [])
    return sorted(chosen, key=question_key)[:MAX_QUESTIONS]


def question_key(row: GoldenQuestion) -> str:
    """12 hex digits that stay the same for as long as question, history and quote do."""
    turns = [f"{turn.role}: {turn.content}" for turn in row.history]
    return sha256_text("\n".join([row.lang, *turns, row.question, row.quote]))[:12]


def choose_probes(passages: Sequence[Passage]) -> list[Passage]:
    """Some passages of each language, evenly spread over the corpus; those of hardly a word are passed over."""
    chosen: list[Passage] = []
    for lang in sorted({passage.lang for passage in passages}):
        of_lang = [passage for passage in passages if passage.lang == lang and len(passage.text.split()) > 2]
        places = np.linspace(0, len(of_lang) - 1, min(PROBES_PER_LANGUAGE, len(of_lang))).astype(int)
        chosen += [of_lang[place] for place in places]
    return chosen


def probe_text(passage: Passage) -> str:
    """Its title, headings and first words."""
    return " ".join([passage.title, passage.headings, *passage.text.split()[:_PROBE_WORDS]])


def answers_probe(probe: Passage, found: Sequence[Passage]) -> bool:
    """Whether the passage itself was found, or one that begins with the same words."""
    return any(hit.passage_id == probe.passage_id or probe_text(hit) == probe_text(probe) for hit in found)


def probe_findings(outcomes: Sequence[tuple[Lang, str, bool]]) -> list[str]:
    """What is wrong, from (language, search, whether the probe was found) of each probe."""
    findings = []
    for lang, search in dict.fromkeys((lang, search) for lang, search, _ in outcomes):
        found = [hit for one_lang, one_search, hit in outcomes if (one_lang, one_search) == (lang, search)]
        if sum(found) < MIN_PROBES_FOUND * len(found):
            findings.append(f"{search} in {lang} finds {sum(found)} of {len(found)} of the index's own passages")
    return findings


def judge_quality(
    new: Mapping[str, float],
    live: Mapping[str, float] | None,
    compared_with: str,
    bound: Callable[[Sequence[float]], Interval],
) -> Quality:
    """The scores of both indexes by question key, compared over the questions that both have; see `one_sided`."""
    shared = sorted(new.keys() & (live or {}).keys())
    if live is None or len(shared) < MIN_QUESTIONS:
        why = compared_with if live is None else f"only {len(shared)} questions in common"
        return Quality(len(new), _mean(list(new.values())), None, None, None, why)
    difference = bound([new[key] - live[key] for key in shared])
    means = _mean([new[key] for key in shared]), _mean([live[key] for key in shared])
    return Quality(len(shared), *means, round(difference.value, 4), round(difference.low, 4), compared_with)


def one_sided(confidence: float, rng: np.random.Generator) -> Callable[[Sequence[float]], Interval]:
    """A paired bootstrap whose lower end holds with ``confidence``."""
    return lambda values: mean_interval(values, rng, _BOOTSTRAP_SAMPLES, 2 * confidence - 1)


def quality_findings(quality: Quality, max_drop: float, confidence: float) -> list[str]:
    """A sentence with the figures when the new index has not shown that it is good enough."""
    if quality.low is None or quality.low >= -max_drop:
        return []
    return [
        f"nDCG@10 is {quality.new:.3f} against {quality.live:.3f} of the live index over {quality.n} golden questions: "
        f"a change of {quality.difference:+.3f}, at {confidence:.0%} confidence perhaps {quality.low:+.3f}, and "
        f"build_index.max_quality_drop allows {-max_drop:+.3f}"
    ]


def told(report: GateReport, scores: Mapping[str, float]) -> dict[str, Any]:
    """What the index keeps of its examination: with it, an index of another encoder can be compared with it later."""
    rounded = {key: round(score, 4) for key, score in sorted(scores.items())}
    return {"metric": METRIC, **asdict(report), "scores": rounded}


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
