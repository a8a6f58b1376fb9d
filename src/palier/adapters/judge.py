"""A model that judges answers, behind any endpoint that the heavy rungs can use.

Each pair is shown in both orders; verdicts are remembered by their content, so that a killed run pays for none twice.
A reply that names no relation is no vote: the label is then less certain, not wrong. What a verdict is worth stands
in `palier.domain.judging`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palier.adapters.heavy_rung import ChatEndpoint, RefusedQuestionError
from palier.adapters.remembered import Remembered, content_key
from palier.domain.judging import Vote, judging_messages, read_vote
from palier.params import JudgeParams

if TYPE_CHECKING:
    import openai

N_THREADS = 2


@dataclass(frozen=True, slots=True)
class Pair:
    """A candidate answer and the answer that it is held against."""

    question: str
    candidate: str
    reference: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Up to two votes on one pair, candidate first and candidate second, and what they cost."""

    votes: tuple[Vote, ...]
    cost_nanousd: int


class Judge:
    """Asks for the relation of each pair, twice."""

    def __init__(self, client: "openai.OpenAI", params: JudgeParams, memory: Path) -> None:
        """``memory`` is a file of verdicts that were paid for before."""
        self._endpoint = ChatEndpoint(client, params.model, params.max_new_tokens, params.price, params.request)
        self._told = params.model_dump(mode="json", exclude={"price", "check_questions"})
        self._memory = Remembered(memory)

    def compare(self, pair: Pair) -> Verdict:
        """The verdict on one pair; raises ModelEndpointError when the endpoint fails after the client's retries."""
        key = content_key(self._told, asdict(pair))
        known = self._memory.get(key)
        if known is None:
            votes, cost = self._votes(pair)
            known = {"votes": [asdict(vote) for vote in votes], "cost_nanousd": cost}
            self._memory.put(key, known)
        return _verdict_of(known)

    def compare_all(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Verdicts in the order of ``pairs``."""
        with ThreadPoolExecutor(N_THREADS) as pool:
            return list(pool.map(self.compare, pairs))

    def _votes(self, pair: Pair) -> tuple[list[Vote], int]:
        if pair.candidate.strip() == pair.reference.strip():
            return [Vote("C", "word for word the same")] * 2, 0
        votes, cost = [], 0
        for swapped in (False, True):
            first, second = (pair.reference, pair.candidate) if swapped else (pair.candidate, pair.reference)
            try:
                reply, price = self._endpoint.ask(judging_messages(pair.question, first, second))
            except RefusedQuestionError:  # a content filter's word is no vote
                continue
            vote = read_vote(reply.choices[0].message.content or "", swapped=swapped)
            votes += [vote] if vote else []
            cost += price
        return votes, cost


def _verdict_of(known: Mapping[str, Any]) -> Verdict:
    return Verdict(tuple(Vote(**vote) for vote in known["votes"]), known["cost_nanousd"])
