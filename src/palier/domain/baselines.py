"""Answers that need no trained model: what every rung must beat to be worth its place.

Pure: a question and its hits in, words of a passage out. They never say "I don't know", and they say whole sentences,
which costs them precision in token F1; that is the price of being simple, not a handicap that was built in.
"""

import re
from collections.abc import Sequence

from palier.domain.answering import Citation, Hit, Question, RungAnswer

_SENTENCE_END = re.compile(r"\n+|(?<=[.!?…])\s+")
_WORD = re.compile(r"\w+")
_PLAIN = re.compile(r"^[\s#>*|-]+|[*_`|]+")


def sentences(text: str) -> list[str]:
    """The lines and sentences of ``text`` that hold a word, word for word."""
    pieces = (piece.strip() for piece in _SENTENCE_END.split(text))
    return [piece for piece in pieces if _WORD.search(piece)]


def best_overlap_sentence(question: Question, hits: Sequence[Hit]) -> RungAnswer:
    """The sentence of the best hit that shares most words with the question; the first of them on a tie."""
    wanted = set(_WORD.findall(question.standalone.casefold()))
    found = sentences(hits[0].passage.text) if hits else []
    best = max(found, key=lambda one: len(wanted & set(_WORD.findall(one.casefold()))), default="")
    return _answer("best_overlap_sentence", best, hits[:1])


def first_sentence(_question: Question, hits: Sequence[Hit]) -> RungAnswer:
    """The first sentence of the best hit by BM25 (of the best hit where none has a BM25 score)."""
    best = sorted(hits, key=lambda hit: -(hit.bm25 or 0.0))[:1]
    found = sentences(best[0].passage.text) if best else []
    return _answer("first_bm25_sentence", found[0] if found else "", best)


def _answer(name: str, sentence: str, hits: Sequence[Hit]) -> RungAnswer:
    cited = tuple(Citation(hit.passage.passage_id, hit.passage.document_id, sentence) for hit in hits if sentence)
    return RungAnswer(name, " ".join(_PLAIN.sub(" ", sentence).split()), cited)
