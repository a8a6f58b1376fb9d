"""When a rung is left alone, for how long, and who tries it again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Thread

import pytest

from palier.adapters.heavy_rung import RefusedQuestionError
from palier.domain.answering import Hit, Question, RungAnswer
from palier.errors import ModelEndpointError
from serving.circuit_breaker import CircuitBreaker

QUESTION = Question("When?", "en")


@dataclass
class Endpoint:
    """Fails or answers as it is told, and counts how often it is asked; may hold its questions."""

    name: str = "heavy"
    is_well: bool = False
    error: ModelEndpointError = field(default_factory=lambda: ModelEndpointError("away"))
    n_asked: int = 0
    lets_go: Event = field(default_factory=Event)
    holds: Event = field(default_factory=Event)

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        self.n_asked += 1
        self.holds.set()
        assert self.lets_go.wait(10)
        if not self.is_well:
            raise self.error
        return RungAnswer(self.name, "At noon.")


@pytest.fixture
def endpoint() -> Endpoint:
    made = Endpoint()
    made.lets_go.set()
    return made


def failed(breaker: CircuitBreaker) -> str:
    with pytest.raises(ModelEndpointError) as caught:
        breaker.answer(QUESTION, ())
    return str(caught.value)


def test_after_a_slow_failure_nothing_is_asked(endpoint: Endpoint) -> None:
    breaker = CircuitBreaker("heavy", endpoint, slow_s=0.0, rest_s=1000.0)
    assert [failed(breaker) == "away" for _ in range(3)] == [True, False, False]
    assert endpoint.n_asked == 1


def test_a_failure_at_once_holds_nobody_up_and_leaves_the_rung_open(endpoint: Endpoint) -> None:
    breaker = CircuitBreaker("heavy", endpoint, slow_s=1000.0)
    assert [failed(breaker) for _ in range(3)] == ["away"] * 3


def test_a_question_that_is_refused_says_nothing_of_the_endpoint(endpoint: Endpoint) -> None:
    endpoint.error = RefusedQuestionError("not this one", "HTTP 400")
    breaker = CircuitBreaker("heavy", endpoint, slow_s=0.0, rest_s=1000.0)
    assert [failed(breaker) for _ in range(3)] == ["not this one"] * 3


def test_after_its_rest_one_question_tries_it_and_the_others_still_go_past(endpoint: Endpoint) -> None:
    breaker = CircuitBreaker("heavy", endpoint, slow_s=0.0, rest_s=0.0)
    failed(breaker)
    endpoint.is_well = True
    endpoint.lets_go.clear()
    endpoint.holds.clear()
    trying = Thread(target=breaker.answer, args=(QUESTION, ()))
    trying.start()
    assert endpoint.holds.wait(10)
    assert "left alone" in failed(breaker)
    endpoint.lets_go.set()
    trying.join(10)
    assert breaker.answer(QUESTION, ()).text == "At noon."
