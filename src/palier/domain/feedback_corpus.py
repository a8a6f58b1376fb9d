"""What the corpus lets feedback teach: which questions, documents and passages are kept for measuring.

Golden questions decide: a document with a test question stays test, and so does a passage elsewhere that says nearly
the same as one of its passages. A document without golden questions falls to training or validation by a hash of its
id, never by row. Pure. The price: feedback about a test document, right as it may be, teaches nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import get_args

from palier.domain.documents import Lang, Passage
from palier.domain.golden import GoldenQuestion, Split
from palier.domain.near_questions import NearQuestions, figures, words_of
from palier.domain.reading_tasks import Lookalikes
from palier.domain.text_metrics import best_f1

N_LOOKALIKES = 10
SAME_ANSWER_F1 = 0.8
HELD: tuple[Split, ...] = ("test", "validation")
"""Splits that measure, or choose; what feedback says of them teaches nothing."""


class FeedbackCorpus:
    """Passages and golden questions of one corpus revision."""

    def __init__(
        self, passages: Sequence[Passage], golden: Sequence[GoldenQuestion], *, near: float, validation_percent: int
    ) -> None:
        self._passages = {passage.passage_id: passage for passage in passages}
        self._by_document: dict[str, list[Passage]] = {}
        self._by_root: dict[str, list[Passage]] = {}
        for passage in passages:
            self._by_document.setdefault(passage.document_id, []).append(passage)
            self._by_root.setdefault(_root(passage), []).append(passage)
        self._lookalikes = Lookalikes(passages)
        self._golden = {row.id: row for row in golden}
        self._near = {split: _questions(golden, split, near) for split in HELD}
        self._exact = _questions(golden, "train", 1.0)
        self._train_near = {
            document_id: _questions(rows, "train", near) for document_id, rows in _by_document(golden).items()
        }
        self._splits: Mapping[str, Split] = {row.document_id: row.split for row in golden}
        self._root_splits = _root_splits(passages, golden, self._splits)
        self._validation_percent = validation_percent

    def golden_like(self, question: str, lang: Lang, document_id: str) -> GoldenQuestion | None:
        """The golden question that is ``question``, or nearly: of those for training one of that document only, since
        the same question about another document is another question; of those kept for measuring any, in any
        language, since that of what people ask is guessed.
        """
        nearby = self._train_near.get(document_id)
        held = [(index, language) for index in self._near.values() for language in get_args(Lang)]
        train = [(index, lang) for index in (self._exact, nearby) if index is not None]
        for index, language in (*held, *train):
            if (found := index.find(question, language)) is not None:
                return self._golden[found]
        return None

    def cited(self, cited: Sequence[tuple[str, str]]) -> list[Passage]:
        """Of (document id, passage id): the passages that still are, then the others of their documents, then those
        elsewhere that repeat one of them.
        """
        still = [self._passages[passage_id] for _, passage_id in cited if passage_id in self._passages]
        documents = [passage for document_id, _ in cited for passage in self._by_document.get(document_id, ())]
        own = [*still, *documents]
        repeats = [repeat for passage in own for repeat in self._by_root[_root(passage)]]
        return list({passage.passage_id: passage for passage in [*own, *repeats]}.values())

    def held_split(self, cited: Sequence[tuple[str, str]]) -> Split | None:
        """The split, of those that measure, of what was cited: of a document, there still or not, or of a passage."""
        splits = [self._splits.get(document_id) for document_id, _ in cited]
        passages = [self._passages[passage_id] for _, passage_id in cited if passage_id in self._passages]
        splits += [self.golden_split(passage) for passage in passages]
        return next((held for held in HELD if held in splits), None)

    def alike(self, question: str, lang: Lang) -> list[Passage]:
        """The passages that share most rare words with the question; as slow as there are passages."""
        return self._lookalikes.find(question, lang, (), N_LOOKALIKES)

    def golden_split(self, passage: Passage) -> Split | None:
        """The split that golden questions give to the passage's document or to a passage that it repeats; test before
        validation before train, None where there is no golden question.
        """
        return _stricter(self._splits.get(passage.document_id), self._root_splits.get(_root(passage)))

    def split_of(self, passage: Passage) -> Split:
        """As `golden_split`; a document without golden questions is for training or, by a hash, validation."""
        return self.golden_split(passage) or self._hashed(passage.document_id)

    def _hashed(self, document_id: str) -> Split:
        bucket = int(hashlib.sha256(f"palier feedback split:{document_id}".encode()).hexdigest(), 16) % 100
        return "validation" if bucket < self._validation_percent else "train"


def _questions(golden: Sequence[GoldenQuestion], split: Split, near: float) -> NearQuestions:
    """The questions of one split, a follow-up alone and with what was said before it."""
    rows = [row for row in golden if row.split == split]
    texts = ((row.id, text, row.lang) for row in rows for text in (row.question, row.asked().standalone))
    return NearQuestions(texts, near)


def _by_document(golden: Sequence[GoldenQuestion]) -> dict[str, list[GoldenQuestion]]:
    found: dict[str, list[GoldenQuestion]] = {}
    for row in golden:
        found.setdefault(row.document_id, []).append(row)
    return found


def same_answer(ours: str, theirs: Sequence[str], lang: Lang) -> bool:
    """Whether ``ours`` is one of ``theirs`` in nearly the same words and the same figures; no answer is "" or ()."""
    if not ours or not any(theirs):
        return not ours and not any(theirs)
    same_figures = [other for other in theirs if figures(words_of(other, lang)) == figures(words_of(ours, lang))]
    return bool(same_figures) and best_f1(ours, same_figures, lang) >= SAME_ANSWER_F1


def _root(passage: Passage) -> str:
    return passage.duplicate_of or passage.passage_id


def _root_splits(
    passages: Sequence[Passage], golden: Sequence[GoldenQuestion], splits: Mapping[str, Split]
) -> dict[str, Split]:
    """The split of each passage that is held for measuring, under the id of the passage that it repeats."""
    of_gold: dict[str, Split | None] = {}
    for row in golden:
        for key in row.passage_ids:
            of_gold[key] = _stricter(of_gold.get(key), row.split)
    found: dict[str, Split] = {}
    for passage in passages:
        held = _stricter(splits.get(passage.document_id), of_gold.get(passage.passage_id))
        if held in HELD:
            strictest = _stricter(held, found.get(_root(passage)))
            assert strictest is not None
            found[_root(passage)] = strictest
    return found


def _stricter(one: Split | None, other: Split | None) -> Split | None:
    """Of two splits the one that is kept further away from training."""
    order: tuple[Split, ...] = ("test", "validation", "train")
    return next((split for split in order if split in (one, other)), None)
