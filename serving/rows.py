"""Ledger rows: what a question used, cost and said, or why it got no answer.

Both arms are judged by the champion's scorer, and refusals by its guard, so that they can be compared and no
challenger promotes itself by thinking well of itself. Costs stay whole nano-dollars here; dollars appear only in
answers. It knows nothing of HTTP or of the database.

The price: the judge was taught on the champion's answers. It reads the signals that the challenger's rungs and
retrieval give of themselves (a reader's margin, a fused score), and knows a rung that is new by its words alone.
"""

from dataclasses import replace
from typing import Any

from palier.domain.answering import Attempt, Question
from palier.domain.ledger import LedgerRow
from palier.domain.scoring import ANY_RUNG
from serving.answer_cache import AttemptAgain
from serving.answers import Asked, Given, Seat
from serving.guard import worth_of_refusal


def ledger_row(asked: Asked, given: Given, latency_ms: float) -> LedgerRow:
    """What the request used, cost and said."""
    release = given.seat.release
    rollout = given.seat.rollout
    return LedgerRow(
        request_id=asked.request_id,
        created_at=asked.asked_at,
        key_id=asked.key_id,
        release_id=release.manifest.release_id,
        rollout_id=rollout.rollout_id if rollout else None,
        arm=given.seat.arm,
        language=asked.question.lang,
        question=asked.question.text,
        answer=given.text,
        rung=given.rung,
        score=_comparable_score(asked.question, given),
        abstained=given.climb.abstained,
        attempts=[ledger_attempt(attempt) for attempt in given.climb.attempts],
        cost_nanousd=given.climb.cost_nanousd,
        reference_cost_nanousd=given.reference_cost_nanousd,
        latency_ms=latency_ms,
        index=given.origin.index,
        citations=_ledger_citations(given),
    )


def error_row(asked: Asked, seat: Seat, code: str, latency_ms: float) -> LedgerRow:
    """The row of a question that got no answer; ``code`` as in the error's body."""
    return LedgerRow(
        request_id=asked.request_id,
        created_at=asked.asked_at,
        key_id=asked.key_id,
        release_id=seat.release.manifest.release_id,
        rollout_id=seat.rollout.rollout_id if seat.rollout else None,
        arm=seat.arm,
        language=asked.question.lang,
        question=asked.question.text,
        answer="",
        rung=None,
        score=None,
        abstained=False,
        latency_ms=latency_ms,
        error=code,
        index=seat.release.manifest.index,
    )


def _comparable_score(question: Question, given: Given) -> float | None:
    """The score as the champion would give it to an answer of its own; None where its scorer cannot say."""
    champion, final = given.seat.champion, given.climb.final
    if given.seat.release is champion:
        return final.score
    if given.blocked is not None:
        return worth_of_refusal(champion, given.blocked, question, given.hits)
    said = [attempt.answer for attempt in given.climb.attempts]
    place = given.climb.attempts.index(final)
    try:
        if champion.manifest.cascade.by_beliefs:
            return champion.scorer.believe(question, said)[place]
        return champion.scorer.score(question, given.hits, final.answer, said[:place])
    except KeyError:  # a rung that this scorer has not learnt
        return _score_from_elsewhere(question, given)


def _score_from_elsewhere(question: Question, given: Given) -> float | None:
    """By the head for answers that none of the champion's rungs gave; older scorers have none."""
    answer = replace(given.climb.final.answer, rung=ANY_RUNG)
    try:
        return given.seat.champion.scorer.score(question, given.hits, answer, ())
    except KeyError:
        return None


def ledger_attempt(attempt: Attempt) -> dict[str, Any]:
    """What the ledger keeps of it; of an answer given again also whose it is."""
    again = {"first_rung": attempt.first_rung} if isinstance(attempt, AttemptAgain) else {}
    return {
        "rung": attempt.answer.rung,
        "score": attempt.score,
        "cost_nanousd": attempt.answer.cost_nanousd,
        "latency_ms": attempt.answer.latency_ms,
        "accepted": attempt.accepted,
        **again,
    }


def _ledger_citations(given: Given) -> list[dict[str, Any]]:
    """Citations with the lines of the file, so that a trace needs no index that may be gone by then."""
    lines = {hit.passage.passage_id: (hit.passage.start_line, hit.passage.end_line) for hit in given.hits}
    revision = given.origin.revision
    return [
        {
            "document_id": citation.document_id,
            "revision": revision,
            "passage_id": citation.passage_id,
            "quote": citation.quote,
            "start_line": lines.get(citation.passage_id, (None, None))[0],
            "end_line": lines.get(citation.passage_id, (None, None))[1],
        }
        for citation in given.citations
    ]
