"""What is said of a choice, in one or two plain sentences: to the owner, to MLflow and to the release's manifest.

Knows figures and names; decides nothing. Price paid: English only, as all that an operator reads.
"""

from dataclasses import dataclass

from palier.domain.cascade.guarantee import Estimate, Guarantee
from palier.domain.cascade.outcomes import OutcomeTable
from palier.domain.cascade.search import LATE_SHARE, Constraints

MIN_ROWS = 20
"""Below this nothing is chosen from the rows: the most careful cascade answers alone."""
MUCH_SHRUNK = 0.25
"""From here on it is worth saying how much the scores weigh against the labels."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to say.

    ``cost`` is the cross-fitted one, None where there were no rows to fit on; ``shrunk`` is the weight of the scores
    against the labels, 0..1.
    """

    rungs: tuple[str, ...]
    reference: str
    reference_cost: float
    cost: Estimate | None
    guarantee: Guarantee
    n_rows: int
    shrunk: float
    by_beliefs: bool = False

    @property
    def way(self) -> str:
        """The rungs in their order, and how they are climbed where it is not by scores."""
        climbed = " (by beliefs)" if self.by_beliefs else ""
        return f"{self.rungs[0]} alone" if len(self.rungs) == 1 else f"{', then '.join(self.rungs)}{climbed}"


def why_chosen(facts: Facts, asked: Constraints, *, held_down: bool) -> str:
    """What was chosen, what it costs and keeps, how sure we are; ``held_down``: the reference breaks a constraint."""
    if facts.cost is None:
        few = f"{facts.n_rows} questions are too few to choose from (at least {MIN_ROWS})"
        return f"{facts.way}: {few if facts.n_rows < MIN_ROWS else 'no other cascade comes near the reference'}."
    if facts.rungs == (facts.reference,):
        return f"{facts.way}: no cheaper cascade can be relied on to keep its quality ({facts.n_rows} questions)."
    return f"{_what(facts, asked, facts.cost)}; {_promise(facts, asked, held_down=held_down)}."


def _what(facts: Facts, asked: Constraints, cost: Estimate) -> str:
    guarantee = facts.guarantee
    share, change = cost.value / max(1.0, round(facts.reference_cost)), 100 * guarantee.difference
    worst = f"at worst {100 * guarantee.bound:+.1f} at {1 - guarantee.alpha:.0%} confidence"
    limits = ", ".join(limits_in_words(asked))
    within = f"within {limits}; " if limits else ""
    return (
        f"{facts.way}: costs {share:.0%} of {facts.reference} and changes quality by {change:+.1f} points "
        f"({within}{worst}, {guarantee.n} questions)"
    )


def _promise(facts: Facts, asked: Constraints, *, held_down: bool) -> str:
    margin = f"the margin of {100 * facts.guarantee.margin:g} points is"
    few = f"; few questions: labels are shrunk by {facts.shrunk:.0%} towards the scores"
    few = few if facts.shrunk >= MUCH_SHRUNK else ""
    if facts.guarantee.met:
        return f"{margin} proven{few}"
    if held_down and facts.guarantee.difference < -facts.guarantee.margin:
        return f"{margin} out of reach within {' and '.join(limits_in_words(asked))}: loosen one, or widen the margin"
    return f"{margin} NOT proven: more golden questions would narrow this{few}"


def why_infeasible(table: OutcomeTable, asked: Constraints, binding: tuple[str, ...]) -> str:
    """Which constraint leaves no cascade, beside the price and the speed of what there is."""
    cheapest = min(range(table.n_rungs), key=table.mean_cost)
    spent = f"{table.rungs[cheapest]} costs {table.mean_cost(cheapest) / 1e6:.6g} USD per 1,000 questions"
    budget = asked.budget_nanousd
    raised = "" if budget is None else f", the budget is {budget / 1e6:.6g}: raise it, or add a cheaper rung"
    if binding:
        blame = f"It would do to lift one of: {', '.join(binding)}."
    else:
        blame = f"No one constraint is to blame; together they are too tight: {', '.join(limits_in_words(asked))}."
    wide = f"Limits hold for upper bounds, from {table.n_rows} questions."
    return f"No cascade keeps the constraints. {blame} The cheapest rung {spent}{raised}. {wide}"


def limits_in_words(asked: Constraints) -> list[str]:
    """Each constraint with its value."""
    words = []
    if asked.budget_nanousd is not None:
        words.append(f"{asked.budget_nanousd / 1e6:.4g} USD per 1,000")
    if asked.latency_p95_ms is not None:
        words.append(f"{asked.latency_p95_ms:g} ms for {1 - LATE_SHARE:.0%}")
    words += [f"{share:.0%} of questions to {rung}" for rung, share in asked.max_share.items()]
    words += [f"no {'/'.join(langs)} to {rung}" for rung, langs in asked.forbidden.items()]
    return words
