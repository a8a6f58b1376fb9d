"""How two answers to one question relate, as a judge says it twice, and what that is worth as a label.

Five relations (of a candidate to a reference answer), which are not a scale: A it is contained in the reference, B it
contains it, C both say the same, D they disagree, E they differ in what does not matter. A judge is asked in both
orders, since many favour what stands first; where the two votes differ the label is their mean and its interval spans
both. What a relation is worth is measured on answers with a gold label and shrunk to a prior. Knows no endpoint.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Relation = Literal["A", "B", "C", "D", "E"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)
_SWAPPED: Mapping[Relation, Relation] = {"A": "B", "B": "A", "C": "C", "D": "D", "E": "E"}
PRIOR: Mapping[Relation, float] = {"A": 0.5, "B": 0.9, "C": 1.0, "D": 0.0, "E": 1.0}
"""What a relation is worth before any gold label is seen, with the weight of `PRIOR_ROWS` rows."""
PRIOR_ROWS = 4.0

_TASK = """Compare two answers to the same question. First give the reason in one short sentence. \
Then write on a line of its own "Relation: " and one letter:
A - all that answer 1 says is in answer 2, and answer 2 says more
B - all that answer 2 says is in answer 1, and answer 1 says more
C - both say the same
D - they disagree: both cannot be right
E - they differ only in what does not matter for the question"""
_NAMED = re.compile(r"relation\W{0,6}([A-E])\b", re.IGNORECASE)
_ALONE = re.compile(r"^\W*([A-E])\W*(?:$|[-–—:.)])", re.MULTILINE)
_SEEN_CHARS = 2000
"""Of each answer: a judge with a small context must see both."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The relation of the candidate to the reference, in one of the two orders, and why."""

    relation: Relation
    reason: str


@dataclass(frozen=True, slots=True)
class Label:
    """An estimated quality, 0..1, with what it may be as low and as high as; ``weight`` is 1 where the votes agree."""

    quality: float
    low: float
    high: float
    weight: float


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """How far a judge can be trusted: on n answers with a gold label, how often it and gold call the same ones good,
    with a 95 % interval (Wilson); and the share of answers on which its two votes agree."""

    n: int
    agreement: float
    low: float
    high: float
    consistent: float
    worth: Mapping[str, float]


def judging_messages(question: str, first: str, second: str) -> list[dict[str, str]]:
    """Chat messages that ask for the relation of answer 1 to answer 2."""
    shown = f"Question: {question}\n\nAnswer 1: {_shown(first)}\n\nAnswer 2: {_shown(second)}"
    return [{"role": "system", "content": _TASK}, {"role": "user", "content": shown}]


def read_vote(reply: str, *, swapped: bool) -> Vote | None:
    """The vote in a judge's reply; None when it names no relation. ``swapped``: the candidate stood second."""
    found = _NAMED.findall(reply) or _ALONE.findall(reply)
    if not found:
        return None
    letter = found[-1].upper()  # the last one: a reason may weigh several before it settles
    relation = next(known for known in RELATIONS if known == letter)
    reason = " ".join(_ALONE.sub("", re.sub(r"(?im)^\W*relation\b.*$", "", reply)).split())
    return Vote(_SWAPPED[relation] if swapped else relation, reason[:300])


def worth_of_relations(judged: Sequence[tuple[Sequence[Vote], float]]) -> dict[Relation, float]:
    """Mean gold quality of the answers that got each relation, shrunk to `PRIOR`; a split answer counts half for each.

    ``judged`` holds the votes on an answer and its gold quality.
    """
    worth = {}
    for relation in RELATIONS:
        shares = [(sum(v.relation == relation for v in votes) / len(votes), gold) for votes, gold in judged if votes]
        weight = sum(share for share, _ in shares)
        total = sum(share * gold for share, gold in shares)
        worth[relation] = (total + PRIOR_ROWS * PRIOR[relation]) / (weight + PRIOR_ROWS)
    return worth


def label_of(votes: Sequence[Vote], worth: Mapping[Relation, float] = PRIOR) -> Label:
    """The label that the votes give; without any vote nothing is known (0.5, from 0 to 1, weight 0)."""
    if not votes:
        return Label(0.5, 0.0, 1.0, 0.0)
    values = [worth[vote.relation] for vote in votes]
    agree = len(votes) > 1 and len({vote.relation for vote in votes}) == 1
    spread = 0.0 if agree else 0.25  # one vote alone, or two that differ
    low, high = max(0.0, min(values) - spread), min(1.0, max(values) + spread)
    return Label(sum(values) / len(values), low, high, 1.0 if agree else 0.5)


def report_of(judged: Sequence[tuple[Sequence[Vote], float]], worth: Mapping[Relation, float]) -> JudgeReport:
    """Agreement of the judge with gold, both cut at one half."""
    known = [(label_of(votes, worth).quality >= 0.5, gold >= 0.5) for votes, gold in judged if votes]
    n = len(known)
    share = sum(said == gold for said, gold in known) / n if n else 0.0
    pairs = [votes for votes, _ in judged if len(votes) == 2]
    same = sum(votes[0].relation == votes[1].relation for votes in pairs) / len(pairs) if pairs else 0.0
    low, high = _wilson(share, n)
    return JudgeReport(n, share, low, high, same, {str(name): round(value, 4) for name, value in worth.items()})


def _wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927); 0..1 without rows."""
    if n == 0:
        return 0.0, 1.0
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5 / (1 + z * z / n)
    return middle - half, middle + half


def _shown(answer: str) -> str:
    """The end of a long answer: that is where it says what it comes to."""
    text = answer.strip() or "(no answer)"
    return text if len(text) <= _SEEN_CHARS else f"… {text[-_SEEN_CHARS:]}"
