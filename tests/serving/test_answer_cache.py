"""What counts as the same question, what a remembered answer costs, and what is forgotten first."""

import pickle
from dataclasses import replace

from lexical_release import Character, passages_of
from running_gateway import Running

from palier.domain.answering import Attempt, Climb, Hit, Question, RungAnswer, Turn
from palier.domain.ledger import CACHE
from serving.answer_cache import AnswerCache, cache_key
from serving.rows import ledger_attempt

HITS = [Hit(passage, 0.9) for passage in passages_of()[:2]]
FIRST = Attempt(RungAnswer("first", "maybe", cost_nanousd=5), 0.3, accepted=False)
WIDE = Attempt(
    RungAnswer("wide", "At noon.", signals={"margin": 1.0}, cost_nanousd=70, latency_ms=9.0), 0.8, accepted=True
)
CLIMB = Climb((FIRST, WIDE), WIDE, abstained=False)


def key(text: str, lang="en", rung=None, hits=HITS, history=(), release="r-1"):
    return cache_key(release, rung, Question(text, lang, history), hits)


def test_case_accents_and_spaces_aside_a_question_is_the_same_and_nothing_else_is():
    assert key("When  do you open?") == key("when do you OPEN? ")
    assert key("Café ouvert ?", "fr") == key("cafe ouvert ?", "fr")
    others = [
        key("When do you close?"),
        key("When do you open?", rung="wide"),
        key("When do you open?", release="r-2"),
        key("When do you open?", "fr"),
        key("When do you open?", history=(Turn("user", "On Sunday"),)),
        key("When do you open?", hits=HITS[:1]),
        key("When do you open?", hits=[HITS[0], replace(HITS[1], passage=passages_of()[3])]),
    ]
    assert key("When do you open?") not in others
    assert len(set(others)) == len(others)


def test_a_long_conversation_is_remembered_by_as_little_as_a_short_one():
    """Callers choose how long they talk, and thousands of keys are kept."""
    talk = tuple(Turn("user", "x" * 4000) for _ in range(20))
    assert len(pickle.dumps(key("When?", history=talk))) == len(pickle.dumps(key("When?"))) < 100


def test_a_remembered_answer_is_free_names_the_cache_and_keeps_text_and_score():
    cache = AnswerCache()
    cache.put(key("When?"), CLIMB, 10)
    again = cache.get(key("when?"))
    assert again is not None
    assert again.cost_nanousd == 0
    assert [attempt.answer.rung for attempt in again.attempts] == [CACHE]
    assert (again.final.answer.text, again.final.score, again.final.accepted) == ("At noon.", 0.8, True)
    assert cache.get(key("Where?")) is None


def test_the_ledger_keeps_whose_answer_was_given_again():
    """A thumb on it is a thumb on that rung. Callers see the rung `cache`; other attempts have no such field."""
    cache = AnswerCache()
    cache.put(key("When?"), CLIMB, 10)
    again = cache.get(key("when?"))
    assert again is not None
    (kept,) = map(ledger_attempt, again.attempts)
    assert (kept["rung"], kept["first_rung"]) == (CACHE, "wide")
    assert "first_rung" not in ledger_attempt(WIDE)


def test_the_least_recently_used_is_forgotten_first():
    cache = AnswerCache()
    for name in ("a", "b"):
        cache.put(key(name), CLIMB, 2)
    assert cache.get(key("a"))
    cache.put(key("c"), CLIMB, 2)
    assert cache.get(key("b")) is None
    assert cache.get(key("a"))
    assert len(cache) == 2


def test_the_gateway_answers_the_same_question_again_at_no_cost_but_not_while_a_rollout_runs(
    empty_gateway: Running,
) -> None:
    """Over HTTP: the second answer is the first one's words, cost 0, rung `cache`; a rollout is fair to both arms."""
    gateway = empty_gateway
    gateway.start_release("r-founding", Character(cached_answers=100))
    gateway.wait_ready("r-founding")

    def ask(text: str) -> dict[str, object]:
        with gateway.http() as http:
            body = {"model": "palier", "messages": [{"role": "user", "content": text}]}
            found: dict[str, object] = http.post("/v1/chat/completions", json=body).json()
            return found

    first, second = ask("How much is the large margherita?"), ask("how much is the LARGE margherita? ")
    assert first["palier"]["cost_usd"] > 0  # type: ignore[index]
    assert second["palier"]["cost_usd"] == 0  # type: ignore[index]
    assert second["palier"]["rung"] == CACHE  # type: ignore[index]
    assert second["choices"][0]["message"] == first["choices"][0]["message"]  # type: ignore[index]
    assert second["palier"]["citations"] == first["palier"]["citations"]  # type: ignore[index]
    gateway.start_release("r-next", Character(cached_answers=100))
    gateway.wait_ready("r-founding", "r-next")
    assert ask("How much is the large margherita?")["palier"]["rung"] != CACHE  # type: ignore[index]
