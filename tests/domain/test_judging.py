"""What a judge's words are read as, what two votes are worth, and how far the judge is trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.judging import (
    PRIOR,
    RELATIONS,
    Vote,
    judging_messages,
    label_of,
    read_vote,
    report_of,
    worth_of_relations,
)

VOTES = st.lists(st.sampled_from(RELATIONS).map(lambda letter: Vote(letter, "")), max_size=2)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("Both name the same hour.\nRelation: C", "C"),
        ("Answer 1 adds the price.\n**Relation:** B", "B"),
        ("One might say D, but no.\nrelation - a", "A"),
        ("Relation: D or rather\nRelation: E", "E"),
        ("D\n\nThe prices differ.", "D"),
        ("B - answer 1 says more.", "B"),
    ],
)
def test_the_relation_is_read_however_the_judge_puts_it(reply, letter):
    vote = read_vote(reply, swapped=False)
    assert vote is not None
    assert vote.relation == letter


@pytest.mark.parametrize("reply", ["", "They are alike.", "A restaurant and a bar differ.", "Relation: F"])
def test_a_reply_without_a_relation_is_no_vote(reply):
    assert read_vote(reply, swapped=False) is None


@pytest.mark.parametrize(("said", "means"), [("A", "B"), ("B", "A"), ("C", "C"), ("D", "D"), ("E", "E")])
def test_with_the_candidate_second_contained_and_containing_change_places(said, means):
    vote = read_vote(f"Because.\nRelation: {said}", swapped=True)
    assert vote == Vote(means, "Because.")


def test_two_votes_that_agree_are_certain_and_two_that_differ_say_so():
    sure, torn = label_of([Vote("C", ""), Vote("C", "")]), label_of([Vote("C", ""), Vote("D", "")])
    assert (sure.quality, sure.low, sure.high, sure.weight) == (1.0, 1.0, 1.0, 1.0)
    assert torn.quality == 0.5
    assert (torn.low, torn.high) == (0.0, 1.0)
    assert torn.weight < sure.weight


@given(VOTES)
def test_a_label_lies_in_its_interval_and_both_within_0_and_1(votes):
    label = label_of(votes)
    assert 0.0 <= label.low <= label.quality <= label.high <= 1.0
    assert (label.weight == 1.0) == (len(votes) == 2 and votes[0].relation == votes[1].relation)


def test_relations_are_no_scale_their_worth_is_what_gold_says_of_them():
    contained = [([Vote("A", ""), Vote("A", "")], 1.0)] * 40
    worth = worth_of_relations(contained)
    assert worth["A"] > 0.9 > PRIOR["A"]
    assert {name: worth[name] for name in "BCDE"} == {name: PRIOR[name] for name in "BCDE"}


def test_agreement_with_gold_comes_with_an_interval_that_narrows():
    right, wrong = ([Vote("C", ""), Vote("C", "")], 1.0), ([Vote("D", ""), Vote("C", "")], 0.0)
    few, many = report_of([right] * 8 + [wrong] * 2, PRIOR), report_of([right] * 80 + [wrong] * 20, PRIOR)
    assert few.agreement == many.agreement == 0.8
    assert few.high - few.low > many.high - many.low > 0
    assert many.low < 0.8 < many.high
    assert many.consistent == 0.8
    assert report_of([], PRIOR).n == 0


def test_a_judge_sees_the_end_of_a_long_answer_and_both_answers_in_their_order():
    told = judging_messages("Why?", "x" * 5000 + " THE END", "short")[-1]["content"]
    assert len(told) < 2200
    assert told.index("THE END") < told.index("Answer 2: short")
