"""The nearest span of a passage to what somebody said, as slow ways find it, and soon."""

import random

from palier.domain.answer_support import find_support
from palier.domain.documents import Passage
from palier.domain.near_questions import figures
from palier.domain.text_metrics import normal, token_f1

WORDS = ["shop", "opens", "at", "9", "22", "the", "on", "Sunday", "closes", "and", "free", "delivery"]


def passage(text: str) -> Passage:
    return Passage("p", "en/shop", "en", "Shop", "", text, 1, 1)


def test_it_is_the_window_with_the_highest_f1_and_the_same_figures() -> None:
    rng = random.Random(3)
    for _ in range(60):
        text, said = (" ".join(rng.choices(WORDS, k=k)) for k in (14, 5))
        words = text.split()
        windows = [" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
        same = [one for one in windows if figures(normal(one, "en").split()) == figures(normal(said, "en").split())]
        best = max((token_f1(said, one, "en") for one in same), default=0.0)
        found = find_support(said, "en", [passage(text)], 0.5)
        assert (found.f1 if found else 0.0) == (best if best >= 0.5 else 0.0)


def test_a_long_answer_is_looked_for_in_a_long_line_soon() -> None:
    """Each window goes on from the one before it: a thousand words in one line, all of them in the answer."""
    rng = random.Random(4)
    plain = [word for word in WORDS if not word.isdigit()]
    text, said = (" ".join(rng.choices(plain, k=k)) for k in (1000, 55))
    assert find_support(said, "en", [passage(text)], 0.5) is not None
