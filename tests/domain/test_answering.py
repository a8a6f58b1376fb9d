"""The climb: cheap rungs first, as far as needed, the best answer seen, and every rung that was asked is paid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from ask_pieces import hit
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from palier.domain.answering import Cascade, Climb, Hit, Origin, Question, RungAnswer, Step, Turn, climb, origin_of

LANGUAGES: tuple[tuple[str, ...], ...] = (("en",), ("fr",), ("en", "fr"))
NAMES = ("low", "middle", "high", "top")


@dataclass
class PricedRung:
    """A rung that always says the same, at its price, and counts how often it was asked."""

    name: str
    cost: int
    text: str = "yes"
    n_asked: int = 0

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        self.n_asked += 1
        return RungAnswer(self.name, self.text, cost_nanousd=self.cost)


@dataclass
class TableScorer:
    """Scores by rung; keeps what it was shown as earlier answers."""

    scores: Mapping[str, float]
    shown: list[list[str]] = field(default_factory=list)
    promises: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)
    """What is believed of an answer once another one was seen; without an entry, its score."""

    def score(
        self, question: Question, hits: Sequence[Hit], answer: RungAnswer, earlier: Sequence[RungAnswer]
    ) -> float:
        self.shown.append([seen.rung for seen in earlier])
        return self.scores[answer.rung]

    def believe(self, question: Question, answers: Sequence[RungAnswer]) -> Sequence[float]:
        if len(answers) == 1:
            return [self.scores[answers[0].rung]]
        return [self.beside.get(answer.rung, self.scores[answer.rung]) for answer in answers]

    def promise(self, question: Question, rung: str) -> float:
        return self.promises[rung]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Cascade, dict[str, PricedRung], TableScorer]:
    """A cascade of one to four rungs, with prices and scores for them."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    share = st.floats(0, 1)
    steps = [Step(rung=name, threshold=draw(share), languages=draw(st.sampled_from(LANGUAGES))) for name in names]
    rungs = {name: PricedRung(name, draw(st.integers(0, 10**9))) for name in names}
    scorer = TableScorer({name: draw(share) for name in names})
    return Cascade(steps=tuple(steps), abstain_below=draw(share)), rungs, scorer


def run(cascade: Cascade, rungs: Mapping[str, PricedRung], scorer: TableScorer, lang: str = "en") -> Climb:
    return climb(Question("How much?", lang), [hit("Nine pounds.")], cascade, rungs, scorer)


def two_steps(first: float, last: float, **rest: float) -> Cascade:
    return Cascade(steps=(Step(rung="low", threshold=first), Step(rung="high", threshold=last)), **rest)


def two_rungs() -> dict[str, PricedRung]:
    return {"low": PricedRung("low", 3), "high": PricedRung("high", 40)}


def test_an_accepted_cheap_answer_ends_the_climb_and_the_dear_rung_is_never_asked():
    rungs = two_rungs()
    climbed = run(two_steps(0.5, 0.0), rungs, TableScorer({"low": 0.5, "high": 0.9}))
    assert (climbed.final.answer.rung, climbed.cost_nanousd, rungs["high"].n_asked) == ("low", 3, 0)


def test_a_threshold_is_reached_by_its_own_value_and_missed_by_the_next_number_below():
    at = run(two_steps(0.5, 0.0), two_rungs(), TableScorer({"low": 0.5, "high": 0.9}))
    below = run(two_steps(0.5, 0.0), two_rungs(), TableScorer({"low": 0.49999999999999994, "high": 0.9}))
    assert (at.final.answer.rung, below.final.answer.rung) == ("low", "high")


def test_when_no_step_accepts_the_best_scored_answer_is_final_and_not_the_last():
    climbed = run(two_steps(0.9, 0.9), two_rungs(), TableScorer({"low": 0.6, "high": 0.2}))
    assert climbed.final.answer.rung == "low"
    assert climbed.cost_nanousd == 43


def test_an_accepted_later_answer_wins_over_a_better_scored_one_that_was_refused():
    climbed = run(two_steps(0.9, 0.1), two_rungs(), TableScorer({"low": 0.8, "high": 0.2}))
    assert climbed.final.answer.rung == "high"


def test_a_question_that_no_step_serves_goes_to_the_last_step():
    steps = (Step(rung="low", threshold=0, languages=("fr",)), Step(rung="high", threshold=0, languages=("fr",)))
    climbed = run(Cascade(steps=steps), two_rungs(), TableScorer({"low": 1.0, "high": 1.0}), "en")
    assert [attempt.answer.rung for attempt in climbed.attempts] == ["high"]


def test_the_scorer_sees_the_answers_before_this_one_in_order():
    scorer = TableScorer({"low": 0.1, "high": 0.2})
    run(two_steps(1.0, 1.0), two_rungs(), scorer)
    assert scorer.shown == [[], ["low"]]


@pytest.mark.parametrize(("text", "score", "abstains"), [("", 1.0, True), ("yes", 0.29, True), ("yes", 0.3, False)])
def test_an_empty_answer_or_one_below_the_floor_is_an_abstention(text, score, abstains):
    rungs = {"low": PricedRung("low", 1, text)}
    cascade = Cascade(steps=(Step(rung="low", threshold=0.0),), abstain_below=0.3)
    assert run(cascade, rungs, TableScorer({"low": score})).abstained is abstains


def test_a_rung_that_the_release_lacks_is_an_error_and_not_a_silent_skip():
    with pytest.raises(KeyError, match="high"):
        run(two_steps(1.0, 0.0), {"low": PricedRung("low", 3)}, TableScorer({"low": 0.0}))


@given(worlds(), st.sampled_from(["en", "fr"]))
def test_every_rung_that_was_asked_is_paid_once_and_no_other_is(world, lang):
    cascade, rungs, scorer = world
    climbed = run(cascade, rungs, scorer, lang)
    asked = [attempt.answer.rung for attempt in climbed.attempts]
    assert {name for name, rung in rungs.items() if rung.n_asked} == set(asked)
    assert all(rungs[name].n_asked == 1 for name in asked)
    assert climbed.cost_nanousd == sum(rungs[name].cost for name in asked)


@given(worlds(), st.sampled_from(["en", "fr"]))
def test_only_the_last_attempt_may_be_accepted_and_a_refused_final_has_the_highest_score(world, lang):
    cascade, rungs, scorer = world
    climbed = run(cascade, rungs, scorer, lang)
    assert not any(attempt.accepted for attempt in climbed.attempts[:-1])
    if not climbed.final.accepted:
        assert climbed.final.score == max(attempt.score for attempt in climbed.attempts)
    assert climbed.abstained == (climbed.final.score < cascade.abstain_below)


@given(worlds(), st.sampled_from(["en", "fr"]))
def test_attempts_are_a_head_of_the_steps_that_serve_the_language(world, lang):
    cascade, rungs, scorer = world
    served = [step.rung for step in cascade.steps if lang in step.languages] or [cascade.steps[-1].rung]
    asked = [attempt.answer.rung for attempt in run(cascade, rungs, scorer, lang).attempts]
    assert asked == served[: len(asked)]


@given(worlds(), st.integers(0, 3), st.floats(0, 1))
def test_a_lower_threshold_never_makes_a_question_dearer(world, place, lower):
    cascade, rungs, scorer = world
    place %= len(cascade.steps)
    steps = list(cascade.steps)
    steps[place] = steps[place].model_copy(update={"threshold": min(lower, steps[place].threshold)})
    before = run(cascade, rungs, scorer).cost_nanousd
    assert run(Cascade(steps=tuple(steps)), rungs, scorer).cost_nanousd <= before


@pytest.mark.parametrize(
    "raw",
    [
        {"steps": []},
        {"steps": [{"rung": "low", "threshold": 1.01}]},
        {"steps": [{"rung": "low", "threshold": 0.5, "languages": ["de"]}]},
        {"steps": [{"rung": "low", "threshold": 0.5}], "abstain_above": 0.1},
    ],
)
def test_a_cascade_that_makes_no_sense_is_refused(raw):
    with pytest.raises(ValidationError):
        Cascade.model_validate(raw)


def test_a_follow_up_is_read_with_what_the_user_said_before_it():
    history = (Turn("user", "Is there a vegan pizza?"), Turn("assistant", "Yes."))
    assert Question("How much is it?", "en", history).standalone == "Is there a vegan pizza? How much is it?"
    assert Question("How much is it?", "en").standalone == "How much is it?"


def test_the_origin_is_the_index_that_the_alias_led_to_or_else_the_releases_own():
    released = Origin("passages-aaa-1", "a" * 64)
    moved = Hit(hit("x").passage, 0.5, index="passages-bbbbbbbbbbbb-2")
    assert origin_of([moved], released) == Origin("passages-bbbbbbbbbbbb-2", "bbbbbbbbbbbb")
    assert origin_of([Hit(hit("x").passage, 0.5, index="passages-aaa-1")], released) == released
    assert origin_of([], released) == released


def by_beliefs(first: float, direct_from: float | None = None) -> Cascade:
    return two_steps(first, 0.0, by_beliefs=True, direct_from=direct_from)


@pytest.mark.parametrize(("promised", "asked"), [(0.2, ["low"]), (0.9, ["low", "high"])])
def test_by_beliefs_a_climb_ends_where_the_last_step_would_do_no_better(promised, asked):
    """Half-trusted, the cheap answer stays when the dear rung promises little, and is climbed over when much."""
    scorer = TableScorer({"low": 0.5, "high": 0.6}, promises={"high": promised})
    done = run(by_beliefs(0.5), two_rungs(), scorer)
    assert [attempt.answer.rung for attempt in done.attempts] == asked


def test_by_beliefs_the_answer_believed_most_is_final_whichever_rung_gave_it():
    """The dear answer takes the doubt off the cheap one: that is final, both are paid, scores are the last beliefs."""
    scorer = TableScorer({"low": 0.4, "high": 0.6}, promises={"high": 0.9}, beside={"low": 0.8, "high": 0.7})
    done = run(by_beliefs(0.5), two_rungs(), scorer)
    assert (done.final.answer.rung, done.final.score, done.final.accepted) == ("low", 0.8, True)
    assert [(attempt.score, attempt.accepted) for attempt in done.attempts] == [(0.8, True), (0.7, False)]
    assert done.cost_nanousd == 43


@pytest.mark.parametrize(("direct_from", "asked"), [(0.7, ["high"]), (0.9, ["low", "high"]), (None, ["low", "high"])])
def test_by_beliefs_a_question_may_go_to_the_last_step_at_once(direct_from, asked):
    """Where the last step promises .6 more than the first (a lead of .8), a router below that skips the first."""
    scorer = TableScorer({"low": 0.1, "high": 0.6}, promises={"low": 0.3, "high": 0.9})
    done = run(by_beliefs(0.5, direct_from), two_rungs(), scorer)
    assert [attempt.answer.rung for attempt in done.attempts] == asked
