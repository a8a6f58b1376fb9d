"""Finds questions that are the same as earlier ones, exactly or nearly.

Likeness is the Jaccard index of the two sets of words (case, accents, articles and punctuation aside), so that word
order does not matter: a question has some eight words, and changing one of them changes three of its six runs of
three, which makes the measure of `near_duplicates` too strict here. Exact, by prefix filtering over rare words as
there. The price: "does A cost more than B" and "does B cost more than A" are one question to us.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from palier.domain.documents import Lang
from palier.domain.text_metrics import normal

_DIGIT = re.compile(r"\d")


class NearQuestions:
    """Questions, each under a key, that others are compared with; ``near`` is the least likeness, above 0 to 1."""

    def __init__(self, questions: Iterable[tuple[str, str, Lang]], near: float) -> None:
        """``questions`` are (key, text, language)."""
        self._near = near
        self._keys: list[str] = []
        self._words: list[frozenset[str]] = []
        self._holders: dict[tuple[Lang, str], list[int]] = {}
        self._exact: dict[tuple[Lang, frozenset[str]], str] = {}
        self._counts: Counter[str] = Counter()
        for key, text, lang in questions:
            self.add(key, text, lang)

    def add(self, key: str, text: str, lang: Lang) -> None:
        """One question more; of several with the same words the first counts, so asking one often costs nothing."""
        words = words_of(text, lang)
        if (lang, words) in self._exact:
            return
        self._exact[lang, words] = key
        self._counts.update(words)
        self._keys.append(key)
        self._words.append(words)
        for word in words:
            self._holders.setdefault((lang, word), []).append(len(self._keys) - 1)

    def find(self, text: str, lang: Lang, *, same_figures: bool = False) -> str | None:
        """The key of the likest question, the earlier of equals; None when none is near.

        With ``same_figures``, only one that names the same numbers: two prices asked for are two questions.
        """
        words = words_of(text, lang)
        if (exact := self._exact.get((lang, words))) is not None:
            return exact
        candidates = {place for word in self._prefix(words) for place in self._holders.get((lang, word), ())}
        likes = [(-_likeness(words, self._words[place]), place) for place in candidates]
        fit = [
            (unlike, place)
            for unlike, place in likes
            if -unlike >= self._near and not (same_figures and figures(words) != figures(self._words[place]))
        ]
        return self._keys[min(fit)[1]] if fit else None

    def _prefix(self, words: frozenset[str]) -> Sequence[str]:
        """So many of the rarest words that any set which is near shares one of them."""
        n = len(words) - math.ceil(self._near * len(words) - 1e-9) + 1
        return sorted(words, key=lambda word: (self._counts[word], word))[:n]


def words_of(text: str, lang: Lang) -> frozenset[str]:
    """The distinct words by which questions are compared; of a text without any, the text itself."""
    return frozenset(normal(text, lang).split()) or frozenset([text.strip()])


def figures(words: Iterable[str]) -> frozenset[str]:
    """The words that hold a digit."""
    return frozenset(word for word in words if _DIGIT.search(word))


def _likeness(ours: frozenset[str], theirs: frozenset[str]) -> float:
    return len(ours & theirs) / len(ours | theirs)
