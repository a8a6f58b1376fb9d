"""Questions of both languages fall into the same slices, and a gap is told with an interval that holds it."""

import numpy as np
import pytest

from palier.domain.slices import difference_interval, question_kind, question_length, slice_gaps


@pytest.mark.parametrize(
    ("text", "lang", "kind"),
    [
        ("How much is the Regina?", "en", "how many"),
        ("how do I cancel?", "en", "how"),
        ("What time do you close?", "en", "when"),
        ("In what size can I get it?", "en", "what"),
        ("For whom is the card?", "en", "who"),
        ("Do you deliver?", "en", "yes or no"),
        ("Tell me the price", "en", "other"),
        ("Combien coûte la Regina ?", "fr", "how many"),
        ("À quelle heure fermez-vous ?", "fr", "when"),
        ("jusqu'à quand ?", "fr", "when"),
        ("Quelle est la taille ?", "fr", "which"),
        ("Qu'est-ce que la Regina ?", "fr", "what"),
        ("Est-ce que vous livrez ?", "fr", "yes or no"),
        ("Y a-t-il du gluten ?", "fr", "yes or no"),
        ("D'où vient la farine ?", "fr", "where"),
        ("ou est le four ?", "fr", "where"),
    ],
)
def test_the_first_words_tell_what_is_asked(text, lang, kind):
    assert question_kind(text, lang) == kind


def test_lengths_fall_into_buckets_without_holes():
    found = [question_length("word " * n) for n in range(1, 21)]
    assert [found.index(name) + 1 for name in dict.fromkeys(found)] == [1, 7, 11, 16]


def test_a_gap_is_the_difference_to_all_others_and_small_slices_are_left_out():
    values = [1.0] * 30 + [0.0] * 30 + [0.5] * 3
    names = ["good"] * 30 + ["bad"] * 30 + ["few"] * 3
    bad, good = slice_gaps(values, names, np.random.default_rng(0), min_rows=5, samples=200)
    assert (bad.name, good.name) == ("bad", "good")
    assert good.mean.value == 1.0
    assert good.gap is not None
    assert good.gap.value == pytest.approx(1.0 - 1.5 / 33)
    assert good.gap.low > 0.8
    assert bad.gap is not None
    assert bad.gap.high < -0.9


def test_lengths_stand_from_short_to_long():
    names = [question_length("word " * n) for n in (20, 12, 8, 3)]
    gaps = slice_gaps([0.5] * 40, names * 10, np.random.default_rng(0), min_rows=5, samples=20)
    assert [gap.name for gap in gaps] == names[::-1]


def test_one_slice_alone_has_no_gap():
    (only,) = slice_gaps([0.2] * 9, ["all"] * 9, np.random.default_rng(0), min_rows=5, samples=100)
    assert only.gap is None


def test_about_95_of_100_intervals_hold_the_true_difference():
    rng = np.random.default_rng(4)
    pairs = [(rng.normal(0.3, 1, 60), rng.normal(0.0, 1, 90)) for _ in range(200)]
    intervals = [difference_interval(one, other, rng, 300) for one, other in pairs]
    assert 0.89 <= np.mean([interval.low <= 0.3 <= interval.high for interval in intervals]) <= 0.99
    with pytest.raises(ValueError, match="nothing to compare"):
        difference_interval(np.array([]), np.ones(3), rng)
