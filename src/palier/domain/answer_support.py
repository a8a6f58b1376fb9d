"""Where in the passages an answer stands that a person typed or a large model wrote.

Word for word if it can be; else the span of a passage that shares most of its words, if that is enough and the figures
of both are the same: "12:00 to 23:30" is not supported by "12:00 to 22:30", however many words they share. Knows
nothing of who said it. The price: an answer that says the right thing in other words is not found.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from palier.domain.documents import Lang, Passage
from palier.domain.golden import ITEMS
from palier.domain.near_questions import figures
from palier.domain.reading_tasks import items_span
from palier.domain.spans import block_answer, occurrences, plain_answer, quote_around
from palier.domain.text_metrics import normal

MAX_WORDS = 60
"""A longer answer is no span that a reader should learn."""
_TOKEN = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Support:
    """An answer in the words of ``passage``; ``quote`` stands around it, ``f1`` says how near it is (1: exact)."""

    passage: Passage
    answer: str
    quote: str
    is_list: bool
    f1: float


def find_support(answer: str, lang: Lang, passages: Iterable[Passage], min_f1: float) -> Support | None:
    """The first passage that holds ``answer`` word for word, else the span with the highest token F1, at least
    ``min_f1``; None when there is none, or when the answer is too long for a span.
    """
    if not 0 < len(answer.split()) <= MAX_WORDS:
        return None
    candidates = list(passages)
    exact = (support for passage in candidates if (support := _word_for_word(answer, passage)))
    if found := next(exact, None):
        return found
    near = [support for passage in candidates if (support := _nearest(answer, lang, passage))]
    best = max(near, key=lambda support: support.f1, default=None)
    return best if best is not None and best.f1 >= min_f1 else None


def _word_for_word(answer: str, passage: Passage) -> Support | None:
    items = [item.strip() for item in answer.split(ITEMS) if item.strip()]
    text = passage.text
    if len(items) > 1 and (span := items_span(text, items)):
        return Support(passage, ITEMS.join(items), text[slice(*span)].strip(), is_list=True, f1=1.0)
    bare = plain_answer(answer).rstrip(".!")
    spans = occurrences(text, bare)
    if not spans:
        return None
    return Support(passage, bare, quote_around(text, *spans[0]), is_list=False, f1=1.0)


def _nearest(answer: str, lang: Lang, passage: Passage) -> Support | None:
    """The span with the highest F1 among those that begin and end with a word of the answer, in one line."""
    wanted = Counter(normal(answer, lang).split())
    best: tuple[float, int, int] | None = None
    for first, last in _lines(passage.text):
        found = _best_window(passage.text[first:last], lang, wanted)
        if found and (best is None or found[0] > best[0]):
            best = (found[0], first + found[1], first + found[2])
    if best is None:
        return None
    f1, start, end = best
    said = block_answer(passage.text, start, end).rstrip(".!")
    if not said or not occurrences(passage.text, said):
        return None
    return Support(passage, said, quote_around(passage.text, start, end), is_list=False, f1=f1)


def _best_window(line: str, lang: Lang, wanted: Counter[str]) -> tuple[float, int, int] | None:
    """F1 and bounds of the best window of one line; the figures in it are those of the answer."""
    tokens = [(match.start(), match.end(), normal(match[0], lang).split()) for match in _TOKEN.finditer(line)]
    edges = [i for i, (_, _, words) in enumerate(tokens) if any(word in wanted for word in words)]
    said = [words for _, _, words in tokens]
    best: tuple[float, int, int] | None = None
    for at, first in enumerate(edges):
        for f1, last in _windows(said, edges[at:], wanted):
            if f1 and (best is None or f1 > best[0]):
                best = (f1, tokens[first][0], tokens[last][1])
    return best


def _windows(said: Sequence[Sequence[str]], edges: Sequence[int], wanted: Counter[str]) -> Iterator[tuple[float, int]]:
    """(F1, last token) of the windows from the first of ``edges`` to each of them, 0 where the figures differ; a word
    is counted once for all of them.
    """
    counts: Counter[str] = Counter()
    found: set[str] = set()
    n_said, n_shared, n_wanted, asked = 0, 0, wanted.total(), figures(wanted)
    for begin, last in zip([edges[0], *(edge + 1 for edge in edges)], edges, strict=False):
        for word in (word for words in said[begin : last + 1] for word in words):
            counts[word] += 1
            n_said, n_shared = n_said + 1, n_shared + (counts[word] <= wanted[word])
        found |= figures(word for words in said[begin : last + 1] for word in words)
        yield (2 * n_shared / (n_said + n_wanted) if found == asked else 0.0), last


def _lines(text: str) -> Iterable[tuple[int, int]]:
    return ((match.start(), match.end()) for match in re.finditer(r"[^\n]+", text))
