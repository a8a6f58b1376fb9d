"""How closely a passage words a question: which of its words it holds, and which pairs of them side by side.

BM25 counts a rare word that stands three times above two rare words that stand once; for a question it matters more
that all of its words are there. Rarity is told by the candidates of the question themselves: a word that all of them
hold tells nothing, whatever it does in the corpus, so no list of stop words is needed, in any language. Words are cut
to their first letters instead of stemmed. The price: a few milliseconds over a hundred candidates, and other scripts
than Latin are not seen at all.

On validation titles (PIAF, SQuAD; `docs/decisions/0007-wording.md`) this raised nDCG@10 of the fused ranking by 2.7 and
1.1 points.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import TypeVar

WORDS_SHARE = 0.6
"""Of single words in the result; the rest is that of pairs."""
STEM = 6
_WORD = re.compile(r"[a-z0-9]+")
Feature = TypeVar("Feature")


def wording(question: str, texts: Mapping[str, str]) -> dict[str, float]:
    """0..1 for each of ``texts`` {id: text}: the share of the question's words and pairs of words that it holds.

    Each counts by how rare it is among ``texts``: log((n + 1) / (n_holding + 1/2)). What no text holds is left out.
    """
    asked = _stems(question)
    stems = {key: _stems(text) for key, text in texts.items()}
    words = {key: set(asked).intersection(found) for key, found in stems.items()}
    asked_pairs = set(itertools.pairwise(asked))
    pairs = {key: asked_pairs.intersection(itertools.pairwise(found)) for key, found in stems.items()}
    by_words, by_pairs = _shares(words), _shares(pairs)
    return {key: WORDS_SHARE * by_words[key] + (1 - WORDS_SHARE) * by_pairs[key] for key in texts}


def _shares(held: Mapping[str, Collection[Feature]]) -> dict[str, float]:
    """The share of all weight that each one holds; zeros where nothing tells the texts apart."""
    counts: dict[Feature, int] = {}
    for features in held.values():
        for feature in features:
            counts[feature] = counts.get(feature, 0) + 1
    weights = {feature: max(0.0, math.log((len(held) + 1) / (n + 0.5))) for feature, n in counts.items()}
    total = sum(weights.values()) or 1.0
    return {key: sum(weights[feature] for feature in features) / total for key, features in held.items()}


def _stems(text: str) -> list[str]:
    plain = text.lower().replace("œ", "oe").replace("æ", "ae").replace("ß", "ss")
    bare = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode("ascii")
    return [word[:STEM] if len(word) > STEM else word.rstrip("s") for word in _WORD.findall(bare)]
