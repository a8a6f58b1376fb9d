"""How closely a passage words a question: which pieces of its words it holds, and which pairs of words side by side.

BM25 counts a rare word that stands three times above two rare words that stand once; for a question it matters more
that all of its words are there. A word is known by its pieces of five letters, so that "remboursement" is mostly held
by "remboursable", "delivery" by "deliver", and a word with a typing error by itself. Rarity is told by the candidates
of the question themselves: a piece that all of them hold tells nothing, whatever it does in the corpus, so no list of
stop words is needed, in any language. The price: a few milliseconds over a hundred candidates, and other scripts than
Latin are not seen at all.

What it brings stands in `docs/decisions/0007-wording.md`.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import TypeVar

PIECES_SHARE = 0.6
"""Of pieces of words in the result; the rest is that of pairs."""
PIECE = 5
"""Letters of a piece, the word's edges counted as one each; a shorter word is one piece."""
STEM = 6
"""Letters of a word that a pair asks for."""
_WORD = re.compile(r"[a-z0-9]+")
Feature = TypeVar("Feature")


def wording(question: str, texts: Mapping[str, str]) -> dict[str, float]:
    """0..1 for each of ``texts`` {id: text}: the share of the question's pieces and pairs of words that it holds.

    Each counts by how rare it is among ``texts``: log((n + 1) / (n_holding + 1/2)). What no text holds is left out.
    """
    asked = _words(question)
    asked_pieces = {piece for word in asked for piece in _pieces(word)}
    asked_pairs = set(itertools.pairwise(map(_stem, asked)))
    pieces, pairs = {}, {}
    for key, text in texts.items():
        words = _words(text)
        spaced = f" {' '.join(words)} "
        pieces[key] = {piece for piece in asked_pieces if piece in spaced}
        pairs[key] = asked_pairs.intersection(itertools.pairwise(map(_stem, words)))
    by_pieces, by_pairs = _shares(pieces), _shares(pairs)
    return {key: PIECES_SHARE * by_pieces[key] + (1 - PIECES_SHARE) * by_pairs[key] for key in texts}


def _shares(held: Mapping[str, Collection[Feature]]) -> dict[str, float]:
    """The share of all weight that each one holds; zeros where nothing tells the texts apart."""
    counts: dict[Feature, int] = {}
    for features in held.values():
        for feature in features:
            counts[feature] = counts.get(feature, 0) + 1
    weights = {feature: max(0.0, math.log((len(held) + 1) / (n + 0.5))) for feature, n in counts.items()}
    total = sum(weights.values()) or 1.0
    return {key: sum(weights[feature] for feature in features) / total for key, features in held.items()}


def _pieces(word: str) -> list[str]:
    """All runs of PIECE letters of a word between spaces; the whole of it where it is shorter."""
    spaced = f" {word} "
    return [spaced[at : at + PIECE] for at in range(max(1, len(spaced) - PIECE + 1))]


def _stem(word: str) -> str:
    return word[:STEM] if len(word) > STEM else word.rstrip("s")


def _words(text: str) -> list[str]:
    """Words in small letters without accents."""
    plain = text.lower().replace("œ", "oe").replace("æ", "ae").replace("ß", "ss")
    bare = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode("ascii")
    return _WORD.findall(bare)
