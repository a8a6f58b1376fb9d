"""The documents and validation questions of a workspace, cut in every way that the sweep tries.

Knows how to cut and which passages are right; where documents come from is the stage's business. Every way of cutting
is measured on the same questions. The price: a question that one cut has no right passage for is left out of all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from palier.adapters.sweep.indexes import Cut
from palier.adapters.workspace import Workspace, read_jsonl
from palier.domain.answering import Question
from palier.domain.documents import Document, Lang, Passage
from palier.domain.golden import GoldenQuestion, gold_passages
from palier.domain.passages import split_document
from palier.domain.retrieval_sweep import Chunking
from palier.errors import NotReadyError
from palier.params import Params


@dataclass(frozen=True)
class SweptCorpus:
    """``rows``: the validation questions, with and without an answer. ``questions``: those that every cut has a right
    passage for, per language, by row id."""

    cuts: Mapping[Chunking, Cut]
    rows: Sequence[GoldenQuestion]
    questions: Mapping[Lang, Mapping[str, Question]]

    def documents_of(self, lang: Lang) -> list[str]:
        """The document of each of the language's questions."""
        documents = {row.id: row.document_id for row in self.rows}
        return [documents[row_id] for row_id in self.questions[lang]]


def cut_corpus(params: Params, place: Workspace, documents: Sequence[Document]) -> SweptCorpus:
    """All cuts of the grid and the one in use; NotReadyError when the corpus is not versioned, or has no question."""
    rows = [row for row in _golden(place) if row.split == "validation"]
    cuts = {chunking: _cut(documents, rows, chunking, params.languages) for chunking in chunkings_of(params)}
    placed = [row for row in rows if row.answerable and all(cut.gold[row.id] for cut in cuts.values())]
    questions: dict[Lang, dict[str, Question]] = {}
    for row in placed:
        questions.setdefault(row.lang, {})[row.id] = row.asked()
    if not questions:
        raise NotReadyError(
            "No golden question of the split `validation` has an answer and a place in the documents: add some, then "
            "run `palier version-documents`."
        )
    return SweptCorpus(cuts, rows, questions)


def chunkings_of(params: Params) -> list[Chunking]:
    """Every way of cutting that is tried, the one in use first."""
    now, grid = params.version_documents, params.sweep_retrieval
    tried = [Chunking(*chosen) for chosen in product(grid.passage_words, grid.overlap_words)]
    return list(dict.fromkeys([Chunking(now.passage_words, now.overlap_words), *tried]))


def _golden(place: Workspace) -> list[GoldenQuestion]:
    rows = read_jsonl(place.corpus / "golden.jsonl", "version-documents")
    return [GoldenQuestion.model_validate_json(json.dumps(row)) for row in rows]


def _cut(
    documents: Sequence[Document], rows: Sequence[GoldenQuestion], chunking: Chunking, languages: Sequence[Lang]
) -> Cut:
    by_document: dict[str, list[Passage]] = {}
    for document in documents:
        by_document[document.document_id] = split_document(
            document, chunking.passage_words, languages, overlap_words=chunking.overlap_words
        )
    gold = {row.id: frozenset(gold_passages(row, by_document.get(row.document_id, []))) for row in rows}
    return Cut(chunking, [passage for part in by_document.values() for passage in part], gold)
