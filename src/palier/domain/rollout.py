"""A challenger proves itself on live traffic: shadow, then growing shares, then champion, or back.

This room holds the state of a rollout, who gets which arm, how requests are compared, and what a verdict
means for the state. It knows nothing of the database, of HTTP or of clocks: requests come in as observations,
the time as an argument. Why the test may be looked at after every request stands in ``sequential.py``.

The price: requests count as independent given the past. Users are sticky, so with few users in an arm the
test compares these users, not only the releases (measured in docs/decisions/0004-rollout-statistics.md).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from palier.domain.comparison import METRICS, Comparison, Metric, Observation, compare, losses_of
from palier.domain.sequential import Series, best_so_far, e_value, evidence_of_less, evidence_of_more, standing
from palier.params import RolloutParams

Phase = Literal["shadow", "canary", "promoted", "rolled_back", "inconclusive"]

METRIC_WORDS: Mapping[Metric, str] = {
    "errors": "error rate",
    "quality": "mean score",
    "silence": "silence (share of answers withheld)",
    "latency": "share of slow requests",
    "cost": "nano-dollars a request",
}


@dataclass(frozen=True, slots=True)
class ReleaseRef:
    """A registered release and the folder that its bundle lies in."""

    release_id: str
    bundle_path: str
    corpus_revision: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Rollout:
    """One challenger's way. ``share`` is the challenger's share of requests (0..1): 0 in the shadow phase.

    ``canary_started_at`` parts the requests that are compared in pairs (before) from those that are compared
    in blocks (from then on). ``phase_started_at`` is when the present phase or share began. ``verdict`` is
    the last one, as plain data.
    """

    rollout_id: str
    champion_id: str
    challenger_id: str
    phase: Phase
    share: float
    started_at: datetime
    phase_started_at: datetime
    params: RolloutParams
    share_step: int = -1
    canary_started_at: datetime | None = None
    ended_at: datetime | None = None
    verdict: Mapping[str, Any] | None = None

    @property
    def is_running(self) -> bool:
        return self.phase in ("shadow", "canary")


@dataclass(frozen=True, slots=True)
class Active:
    """What serves now. ``rollout`` and ``challenger`` are None unless a rollout is running.

    ``version`` grows with every change; a change names the version that it was decided on, and fails when
    another came first.
    """

    champion: ReleaseRef | None = None
    previous: ReleaseRef | None = None
    rollout: Rollout | None = None
    challenger: ReleaseRef | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the release history: who did what, when and why."""

    at: datetime
    actor: str
    action: str
    release_id: str
    reason: str
    rollout_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def assign_arm(sticky_key: str, rollout: Rollout) -> Literal["champion", "challenger"]:
    """The arm that serves this key in this rollout.

    sha256 of rollout and key as a number in [0, 1), compared with the share: the same key always gets the
    same arm, a larger share only moves keys towards the challenger, and two rollouts choose independently.
    """
    if rollout.phase != "canary":
        return "champion"
    digest = hashlib.sha256(f"{rollout.rollout_id}\n{sticky_key}".encode()).digest()
    place = (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: what a float holds, so never 1.0
    return "challenger" if place < rollout.share else "champion"


class MetricVerdict(BaseModel):
    """What the test knows of one metric.

    Evidence is an e-value: how many times the wealth of a bettor grew who bet that the challenger is worse by
    more than ``margin`` (``worse_evidence``), or that it is not (``fine_evidence``); the largest so far, the
    second only for as long as it is not lost again. Means are error rate, score, share of answers withheld, share of
    slow requests, and nano-dollars a request; the cost margin is a share of the champion's mean cost.
    """

    model_config = ConfigDict(frozen=True)

    metric: Metric
    margin: float
    champion_mean: float | None
    challenger_mean: float | None
    worse_evidence: float
    worse_threshold: float
    fine_evidence: float
    fine_threshold: float

    @property
    def is_worse(self) -> bool:
        return self.worse_evidence >= self.worse_threshold

    @property
    def is_fine(self) -> bool:
        return self.fine_evidence >= self.fine_threshold


class Verdict(BaseModel):
    """One look at a rollout with everything it rests on; plain data, stored with the rollout.

    ``n_compared`` counts comparisons in shadow and canary, ``n_pairs`` those in the shadow, ``n_requests``
    served requests, ``n_challenger`` those that the challenger served since its present share began.
    """

    model_config = ConfigDict(frozen=True)

    decision: Literal["worse", "not_worse", "undecided"]
    n_pairs: int
    n_compared: int
    n_requests: int
    n_challenger: int
    metrics: tuple[MetricVerdict, ...]

    @property
    def reason(self) -> str:
        """Why, in one sentence for people."""
        return {
            "worse": "worse than the champion: " + "; ".join(_finding(m) for m in self.metrics if m.is_worse),
            "not_worse": f"not worse by more than the margins, over {self.n_compared} comparisons",
            "undecided": "cannot be told yet: " + ", ".join(m.metric for m in self.metrics if not m.is_fine),
        }[self.decision]


def _finding(seen: MetricVerdict) -> str:
    means = f"{shown(seen.challenger_mean)} against {shown(seen.champion_mean)}"
    evidence = f"evidence {shown(seen.worse_evidence)} of {shown(seen.worse_threshold)} needed"
    return f"{METRIC_WORDS[seen.metric]} {means}, allowed margin {seen.margin:g}, {evidence}"


def shown(value: float | None) -> str:
    """A number for people: three digits that matter."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def judge(observations: Sequence[Observation], rollout: Rollout, params: RolloutParams) -> Verdict:
    """The verdict on all that was observed of ``rollout``, in order of arrival.

    Worse: the evidence that the challenger is worse by more than the margin has ever reached n_metrics /
    alpha on a metric (the level is split, since one metric is enough to send it back). Not worse: on every
    metric the evidence that it is not worse by the margin has reached 1 / alpha and is not lost again (all
    are needed, so none is split: R. L. Berger's intersection-union test, 1982). Either error has a
    probability of alpha at most, whenever one looks.
    """
    comparisons = compare(observations, rollout.canary_started_at)
    metrics = tuple(_judge_metric(metric, comparisons, params) for metric in METRICS)
    if any(seen.is_worse for seen in metrics):
        decision: Literal["worse", "not_worse", "undecided"] = "worse"
    else:
        decision = "not_worse" if all(seen.is_fine for seen in metrics) else "undecided"
    canary = rollout.canary_started_at
    return Verdict(
        decision=decision,
        n_pairs=sum(pair.challenger.arm == "shadow" for pair in comparisons),
        n_compared=len(comparisons),
        n_requests=sum(seen.arm != "shadow" for seen in observations),
        n_challenger=sum(
            seen.arm == "challenger" and canary is not None and seen.created_at >= rollout.phase_started_at
            for seen in observations
        ),
        metrics=metrics,
    )


def margins_of(params: RolloutParams) -> dict[Metric, float]:
    """How much worse a challenger may be; for costs as a share of the champion's, else in the metric's own unit."""
    return {
        "errors": params.error_margin,
        "quality": params.quality_margin,
        "silence": params.silence_margin,
        "latency": params.latency_margin,
        "cost": params.cost_margin,
    }


def _judge_metric(metric: Metric, comparisons: Sequence[Comparison], params: RolloutParams) -> MetricVerdict:
    margin = margins_of(params)[metric]
    seen = losses_of(metric, comparisons, margin, params.latency_slo_ms)
    worse = best_so_far(evidence_of_more(seen.losses, seen.margins))
    fine = standing(evidence_of_less(seen.losses, seen.margins))
    return MetricVerdict(
        metric=metric,
        margin=margin,
        champion_mean=seen.champion_mean,
        challenger_mean=seen.challenger_mean,
        worse_evidence=_last(worse),
        worse_threshold=len(METRICS) / params.alpha,
        fine_evidence=_last(fine),
        fine_threshold=1.0 / params.alpha,
    )


def _last(log_values: Series) -> float:
    return e_value(float(log_values[-1]) if len(log_values) else 0.0)


def next_step(rollout: Rollout, verdict: Verdict, params: RolloutParams, now: datetime) -> tuple[Rollout, str] | None:
    """The rollout after this verdict and why, or None when it is to wait."""
    if verdict.decision == "worse":
        return _end(rollout, "rolled_back", verdict, now), f"rolled back: {verdict.reason}"
    if rollout.phase == "shadow" and verdict.n_pairs >= params.shadow_requests:
        share = params.canary_shares[0]
        moved = replace(rollout, phase="canary", share=share, share_step=0, canary_started_at=now)
        text = f"{verdict.n_pairs} requests compared in the shadow, no regression: share {share:g}"
        return _moved(moved, verdict, now), text
    if rollout.phase == "canary" and verdict.n_challenger >= params.requests_per_share:
        if rollout.share_step + 1 < len(params.canary_shares):
            share = params.canary_shares[rollout.share_step + 1]
            moved = replace(rollout, share=share, share_step=rollout.share_step + 1)
            text = f"{verdict.n_challenger} requests at share {rollout.share:g}, no regression: share {share:g}"
            return _moved(moved, verdict, now), text
        if verdict.decision == "not_worse":
            return _end(rollout, "promoted", verdict, now), f"promoted: {verdict.reason}"
    if verdict.n_requests >= params.max_requests:
        text = f"inconclusive after {verdict.n_requests} requests, the champion stays: {verdict.reason}"
        return _end(rollout, "inconclusive", verdict, now), text
    return None


def _moved(rollout: Rollout, verdict: Verdict, now: datetime) -> Rollout:
    return replace(rollout, phase_started_at=now, verdict=verdict.model_dump(mode="json"))


def _end(rollout: Rollout, phase: Phase, verdict: Verdict, now: datetime) -> Rollout:
    return _moved(replace(rollout, phase=phase, share=0.0, ended_at=now), verdict, now)
