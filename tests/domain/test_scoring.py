"""Scores are probabilities from plain numbers: the same heads, the same features, the same score."""

import json
import math

import numpy as np
import pytest
from ask_pieces import CountEncoder, hit
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.answering import Citation, Question, RungAnswer, Turn
from palier.domain.scoring import (
    AGREEMENT,
    ALL_FEATURES,
    FEATURES,
    OWN_SIGNALS,
    LearnedScorer,
    LogisticHead,
    ScorerWeights,
    agreement_features,
    as_outsider,
    features,
)
from palier.errors import IntegrityError

HITS = [hit("The Margherita is £9.", "menu", 0.9, cosine=0.7, bm25=math.e - 1), hit("We open at noon.", "hours", 0.4)]
CITED = Citation("menu#1", "menu", "The Margherita is £9.")
NUMBERS = st.floats(-1e6, 1e6)
WIDTH = len(ALL_FEATURES)


def head(weights: dict[str, float], bias: float = 0.0) -> LogisticHead:
    """A head on raw features: mean 0, scale 1."""
    numbers = tuple(weights.get(name, 0.0) for name in ALL_FEATURES)
    return LogisticHead(mean=(0.0,) * WIDTH, scale=(1.0,) * WIDTH, weights=numbers, bias=bias, n_rows=100)


def constant(rate: float) -> LogisticHead:
    return LogisticHead(mean=(), scale=(), weights=(), bias=math.log(rate / (1 - rate)), n_rows=3)


def named(question: Question, answer: RungAnswer, hits=HITS) -> dict[str, float]:
    return dict(zip(FEATURES, features(question, hits, answer, CountEncoder()), strict=True))


def test_features_by_hand():
    answer = RungAnswer("reader", "£9 today", (CITED,), {"margin": 2.5, "expected_f1": 0.8, "unheard_of": 9.0})
    values = named(Question("How much is the Margherita?", "en"), answer)
    assert (values["margin"], values["expected_f1"]) == (2.5, 0.8)
    assert (values["null"], values["second"], values["mean_logprob"]) == (0, 0, 0)
    assert (values["top_score"], values["top_cosine"]) == (0.9, 0.7)
    assert values["top_bm25"] == pytest.approx(1.0)
    assert values["cited_score"] == 0.9
    assert values["n_words"] == pytest.approx(math.log(3))
    assert (values["has_digit"], values["asks_number"], values["is_french"]) == (1, 1, 0)
    assert values["overlap"] == pytest.approx(3 / 5)  # is, the, margherita of how much is the margherita
    assert values["grounded"] == pytest.approx(1 / 2)  # 9 is in the passages, today is not
    assert 0 < values["similarity"] <= 1 + 1e-6


@pytest.mark.parametrize("text", ["Combien coûte la Reine ?", "Quel est le prix ?", "When do you open?", "What time?"])
def test_questions_for_a_number_are_known_in_both_languages(text):
    assert named(Question(text, "fr"), RungAnswer("reader", "x"))["asks_number"] == 1


def test_a_follow_up_is_compared_with_what_it_follows():
    alone = named(Question("And how much?", "en"), RungAnswer("reader", "£9", (CITED,)))
    history = (Turn("user", "Is the Margherita vegetarian?"),)
    following = named(Question("And how much?", "en", history), RungAnswer("reader", "£9", (CITED,)))
    assert alone["overlap"] == 0 < following["overlap"]


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(["en", "fr"]), st.booleans(), st.booleans())
def test_features_are_always_finite_and_as_many_as_their_names(question, answer, lang, has_hits, cites):
    given_answer = RungAnswer("reader", answer, (CITED,) if cites else ())
    values = features(Question(question, lang), HITS if has_hits else [], given_answer, CountEncoder())
    assert values.shape == (len(FEATURES),)
    assert np.isfinite(values).all()


@given(st.lists(NUMBERS, min_size=WIDTH, max_size=WIDTH), st.lists(st.floats(-50, 50), min_size=WIDTH, max_size=WIDTH))
def test_a_score_is_a_probability_whatever_the_numbers(values, weights):
    score = head(dict(zip(ALL_FEATURES, weights, strict=True))).predict(np.array(values))
    assert 0.0 <= score <= 1.0


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_a_score_rises_with_a_feature_of_positive_weight(one, other):
    low, high = sorted((one, other))
    vectors = [np.eye(WIDTH)[ALL_FEATURES.index("margin")] * value for value in (low, high)]
    scores = [head({"margin": 1.5}).predict(vector) for vector in vectors]
    assert scores[0] <= scores[1]


def test_a_single_absurd_value_moves_a_score_no_further_than_four_deviations():
    vector = np.eye(WIDTH)[ALL_FEATURES.index("margin")]
    model = head({"margin": 1.0})
    assert model.predict(vector * 1e9) == model.predict(vector * 4) < 0.99


def test_a_head_without_weights_answers_with_its_base_rate():
    assert constant(0.3).predict(np.full(WIDTH, 1e9)) == pytest.approx(0.3)


def test_answers_and_abstentions_of_a_rung_are_judged_by_heads_of_their_own():
    weights = ScorerWeights(answered={"reader": constant(0.8)}, abstained={"reader": constant(0.2)})
    scorer = LearnedScorer(weights, CountEncoder())
    question = Question("Why?", "en")
    assert scorer.score(question, HITS, RungAnswer("reader", "Because."), []) == pytest.approx(0.8)
    assert scorer.score(question, HITS, RungAnswer("reader", ""), []) == pytest.approx(0.2)
    with pytest.raises(KeyError, match="writer"):
        scorer.score(question, HITS, RungAnswer("writer", "Because."), [])


def test_weights_keep_their_scores_through_json():
    weights = ScorerWeights(answered={"reader": head({"margin": 0.1, "overlap": 1 / 3}, 0.7)}, abstained={})
    again = ScorerWeights.model_validate_json(json.dumps(json.loads(weights.model_dump_json())))
    answer = RungAnswer("reader", "£9", (CITED,), {"margin": 1.1})
    scores = [LearnedScorer(w, CountEncoder()).score(Question("x", "en"), HITS, answer, []) for w in (weights, again)]
    assert scores[0] == scores[1]


def test_weights_of_other_features_are_refused_and_the_remedy_is_named():
    weights = ScorerWeights(features=(*ALL_FEATURES[1:], ALL_FEATURES[0]), answered={}, abstained={})
    with pytest.raises(IntegrityError, match="train-scorer"):
        LearnedScorer(weights, CountEncoder())


def test_what_is_borne_out_by_the_passage_is_counted():
    answer = RungAnswer("reader", "£9 on Sunday by Maria", (CITED,))
    values = named(Question("How much is the Margherita?", "en"), answer)
    assert values["numbers_grounded"] == 1.0  # 9 stands there
    assert values["names_grounded"] == 0.0  # neither Sunday nor Maria does
    assert values["type_match"] == 1.0  # an amount was asked for
    assert values["support"] == 0.0


def test_an_answer_that_stands_in_several_passages_has_more_support():
    hits = [hit("Open at noon.", "a"), hit("We open at noon.", "b"), hit("Closed.", "c")]
    values = named(Question("When do you open?", "en"), RungAnswer("reader", "at noon"), hits)
    assert values["support"] == pytest.approx(math.log(3))


def test_agreement_is_with_the_most_alike_and_silence_agrees_with_silence():
    best, mean, silent, heard = agreement_features("at noon", ["at noon", "at night", ""], "en")
    assert (best, silent, heard) == (1.0, pytest.approx(1 / 3), pytest.approx(math.log(4)))
    assert mean == pytest.approx((1 + 0.5 + 0) / 3)
    assert agreement_features("", [""], "en")[0] == 1.0
    assert not agreement_features("at noon", [], "en").any()


def test_a_scorer_hears_the_answers_before():
    weights = ScorerWeights(answered={"wide": head({"agreement": 2.0})}, abstained={})
    scorer, question, answer = (
        LearnedScorer(weights, CountEncoder()),
        Question("When?", "en"),
        RungAnswer("wide", "noon"),
    )
    alone = scorer.score(question, HITS, answer, [])
    agreed = scorer.score(question, HITS, answer, [RungAnswer("reader", "noon")])
    differed = scorer.score(question, HITS, answer, [RungAnswer("reader", "midnight")])
    assert alone == differed < agreed


def test_an_outsider_sees_no_signal_of_our_rungs():
    seen = dict(zip(ALL_FEATURES, as_outsider(np.ones((1, WIDTH)))[0], strict=True))
    assert {name for name, value in seen.items() if value == 0.0} == set(OWN_SIGNALS)
    assert set(AGREEMENT) < set(OWN_SIGNALS)


def test_without_passages_the_same_numbers_are_made():
    values = features(Question("When?", "en"), [], RungAnswer("heavy", "At noon, I think."), CountEncoder())
    told = dict(zip(FEATURES, values, strict=True))
    assert (told["top_score"], told["grounded"], told["coverage"], told["hedges"]) == (0, 0, 0, 1)


class Doubter:
    """A verifier that marks a claim by how long it is, and remembers what it read."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []

    def score(self, question, texts):
        self.read += [(question, text) for text in texts]
        return np.array([-float(len(text)) for text in texts], dtype=np.float32)


def test_a_verifier_marks_what_is_said_or_else_what_was_withheld():
    doubter, question = Doubter(), Question("How much is the Margherita?", "en")
    place = FEATURES.index("verified")
    said = features(question, HITS, RungAnswer("reader", "£9", (CITED,)), CountEncoder(), doubter)
    assert said[place] == -len(doubter.read[0][1])
    assert doubter.read[0][1].startswith("£9 | ")
    silent = features(question, HITS, RungAnswer("reader", ""), CountEncoder(), doubter)
    assert silent[place] == 0
    assert len(doubter.read) == 1
    swallowed = features(question, HITS, RungAnswer("reader", "", withheld=("£8", CITED)), CountEncoder(), doubter)
    assert doubter.read[1][1].startswith("£8 | ")
    assert swallowed[place] < 0


def test_the_verifiers_mark_counts_in_the_score():
    weights = ScorerWeights(answered={"reader": head({"verified": 0.1})}, abstained={"reader": constant(0.5)})
    answer, question = RungAnswer("reader", "£9", (CITED,)), Question("How much is the Margherita?", "en")
    doubted = LearnedScorer(weights, CountEncoder(), Doubter()).score(question, HITS, answer, [])
    assert doubted < LearnedScorer(weights, CountEncoder()).score(question, HITS, answer, []) == 0.5
