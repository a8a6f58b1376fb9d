"""Noise changes what it says it changes, repeats with the seed, and leaves figures alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.answering import Hit, Question
from palier.domain.documents import Lang, Passage
from palier.domain.noise import NOISES, noisy_question, padded, with_typos, without_accents

ASKED = Question("Combien coûte la grande Margherita à 12.90 €, près de l'été ?", "fr")


def hit(name: str, document: str, lang: Lang = "en", score: float = 0.5) -> Hit:
    return Hit(Passage(name, document, lang, document, "", f"text of {name}", 1, 1), score, 3.0, 0.4)


@pytest.mark.parametrize("noise", NOISES)
def test_the_same_seed_gives_the_same_noise(noise):
    first, second = (noisy_question(ASKED, noise, 0.5, np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert (first == ASKED) == (noise == "padding")


def test_accents_and_case_go_and_nothing_else():
    assert without_accents("Où est l'Œuf, à Noël ?") == "Ou est l'OEuf, a Noel ?"
    shouted = noisy_question(ASKED, "upper_case", 0.0, np.random.default_rng(0)).text
    assert shouted == "COMBIEN COÛTE LA GRANDE MARGHERITA À 12.90 €, PRÈS DE L'ÉTÉ ?"


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_slips_touch_so_many_longer_words_by_one_letter_and_no_figure(seed, share):
    """Words of less than four letters, figures and signs stay; each touched word is one slip away."""
    before = ASKED.text.split()
    after = with_typos(ASKED.text, share, np.random.default_rng(seed)).split()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    longer = ["Combien", "coûte", "grande", "Margherita", "près"]
    assert len(changed) == max(1, round(share * len(longer)))
    assert {a for a, _ in changed} <= set(longer)
    for word, slipped in changed:
        assert slipped[0] == word[0]
        assert abs(len(slipped) - len(word)) <= 1
        assert sorted(slipped) == sorted(word) or len(slipped) != len(word)


def test_a_text_without_longer_words_stays():
    assert with_typos("12:30 a la", 1.0, np.random.default_rng(0)) == "12:30 a la"


def test_padding_puts_another_document_of_the_language_after_each_hit():
    hits = [hit("a1", "a", score=0.9), hit("a2", "a", score=0.7)]
    pool = [*hits, hit("a3", "a"), hit("b1", "b"), hit("c1", "c"), hit("c1", "c"), hit("d1", "d", "fr")]
    mixed = padded(hits, pool, np.random.default_rng(0))
    assert [one.passage.passage_id for one in mixed[::2]] == ["a1", "a2"]
    assert {one.passage.passage_id for one in mixed[1::2]} == {"b1", "c1"}
    assert [one.score for one in mixed] == [0.9, 0.9, 0.7, 0.7]
    assert padded(hits, hits, np.random.default_rng(0)) == hits
