"""Golden questions as exercises for the reader: a question, one passage, and where in it the answer stands.

Pure: passages and questions come in, exercises go out. Where a row's answer cannot be found in its gold passage (a
quote that a heading holds, a fact that two passages share), no exercise is made, rather than a wrong one. Passages
that "look alike" are found by shared rare words: no search engine is needed to train.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from palier.domain.documents import Lang, Passage
from palier.domain.golden import GoldenQuestion, plain
from palier.domain.spans import occurrences, quote_around

NEAR = 120
"""Two facts at most this many characters apart are read as one span."""
UNANSWERABLE_PASSAGES = 2
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class ReadingTask:
    """A question with one passage; ``spans`` are the right (start, end) characters, none when it has no answer."""

    question: str
    content: str
    spans: tuple[tuple[int, int], ...] = ()
    is_block: bool = False


class Lookalikes:
    """Finds the passages of one language that share most rare words with a question."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._words = {passage.passage_id: frozenset(_words(passage.content)) for passage in passages}
        self._by_lang: dict[Lang, list[Passage]] = {}
        for passage in passages:
            self._by_lang.setdefault(passage.lang, []).append(passage)
        counts = Counter(word for words in self._words.values() for word in words)
        self._weights = {word: math.log(1 + len(passages) / n) for word, n in counts.items()}

    def find(self, question: str, lang: Lang, without: Sequence[str], n: int) -> list[Passage]:
        """The best ``n`` passages of ``lang``, the ids of ``without`` left out; ties by id."""
        asked = set(_words(question))
        passages = [p for p in self._by_lang.get(lang, []) if p.passage_id not in without]
        return sorted(passages, key=lambda p: (-self._shared(asked, p.passage_id), p.passage_id))[:n]

    def _shared(self, asked: set[str], passage_id: str) -> float:
        return sum(self._weights[word] for word in asked & self._words[passage_id])


def training_tasks(
    rows: Sequence[GoldenQuestion], passages: Mapping[str, Passage], lookalikes: Lookalikes, negatives: int
) -> list[ReadingTask]:
    """Each row beside its gold passages, and beside ``negatives`` passages that look like them but do not answer."""
    return [task for row in rows for task in _tasks(row, passages, lookalikes, negatives)]


def _tasks(
    row: GoldenQuestion, passages: Mapping[str, Passage], lookalikes: Lookalikes, negatives: int
) -> Iterator[ReadingTask]:
    question = row.asked().standalone
    if not row.answerable:
        for passage in lookalikes.find(question, row.lang, (), UNANSWERABLE_PASSAGES):
            yield ReadingTask(question, passage.content)
        return
    gold = [passages[key] for key in row.passage_ids if key in passages]
    for passage in gold:
        spans, is_block = answer_spans(row, passage)
        if spans:
            yield ReadingTask(question, passage.content, spans, is_block)
    for passage in distractors(row, lookalikes, negatives):
        yield ReadingTask(question, passage.content)


def distractors(row: GoldenQuestion, lookalikes: Lookalikes, n: int) -> list[Passage]:
    """Passages that look like an answer to ``row`` but hold none of its answers."""
    found = lookalikes.find(row.asked().standalone, row.lang, row.passage_ids, n + 8)
    answers = [plain(answer) for answer in row.answers]
    return [p for p in found if not any(answer in plain(p.content) for answer in answers)][:n]


def answer_spans(row: GoldenQuestion, passage: Passage) -> tuple[tuple[tuple[int, int], ...], bool]:
    """The spans of ``passage.content`` that answer ``row``, and whether they are a whole list or table.

    A fact may stand in several places: those inside the quote count, or all when none is.
    """
    text = passage.content
    if row.kind == "list":
        span = items_span(text, row.answer_items(row.answers[0]))
        return ((span,), "\n" in text[slice(*span)]) if span else ((), False)
    if row.kind == "two_facts":
        return _facts(text, row), False
    for answer in row.answers:
        if spans := _within_quote(text, occurrences(text, answer), row.quote):
            return spans, False
    return (), False


def items_span(text: str, items: Sequence[str]) -> tuple[int, int] | None:
    """The shortest piece of ``text`` from the first item to the last, all in order; None when one is missing."""
    found = [_follow(text, start, items) for start, _ in occurrences(text, items[0])]
    whole = [span for span in found if span is not None]
    return min(whole, key=lambda span: span[1] - span[0], default=None)


def _follow(text: str, start: int, items: Sequence[str]) -> tuple[int, int] | None:
    end = start
    for item in items:
        place = next((span for span in occurrences(text, item) if span[0] >= end), None)
        if place is None:
            return None
        end = place[1]
    return start, end


def _facts(text: str, row: GoldenQuestion) -> tuple[tuple[int, int], ...]:
    """Both facts as one span where they stand near each other, else each of them."""
    items = row.answer_items(row.answers[0])
    both = items_span(text, items)
    if both and both[1] - both[0] <= NEAR:
        return (both,)
    return tuple(span for item in items for span in _within_quote(text, occurrences(text, item), row.quote))


def _within_quote(text: str, spans: tuple[tuple[int, int], ...], quote: str) -> tuple[tuple[int, int], ...]:
    quoted = plain(quote)
    inside = []
    for span in spans:
        around = plain(quote_around(text, *span))
        if around in quoted or quoted in around:
            inside.append(span)
    return tuple(inside) or spans


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
