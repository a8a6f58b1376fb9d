"""Questions that are no golden ones: QA files as rows to be asked, over an index of their own passages.

Knows files, and Elasticsearch through the index adapters. The index is deleted when the block ends, whatever happens
in it. The price: all passages of the files are embedded first (remembered, so only once).
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
from elasticsearch import Elasticsearch

from palier.adapters.embedding_cache import embed_remembered
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.qa_rows import QaRow, passage_of, read_qa
from palier.adapters.search_index import create_index, delete_indexes, fill_index, finish_index, index_mapping
from palier.domain.documents import Lang, Passage
from palier.errors import InputError
from palier.params import BuildIndexParams

Progress = Callable[[int, int, str], None]


def read_questions(
    files: Sequence[Path], max_questions: int | None, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], list[Passage]]:
    """Rows in the form of golden questions, at most ``max_questions`` of them drawn by ``rng``, and all passages.

    Raises InputError for a file that is not in the form, or when no row has a question with answers, or one without
    that says so.
    """
    rows = [row for path in files for row in read_qa(path) if row.lang in get_args(Lang)]
    passages = {passage.passage_id: passage for passage in map(passage_of, rows)}
    usable = [row for row in rows if row.question.strip() and bool(row.answers) == row.answerable]
    if not usable:
        raise InputError("No row has a question with answers, or one that is not answerable: nothing to measure.")
    if max_questions is not None and max_questions < len(usable):
        usable = [usable[i] for i in sorted(rng.choice(len(usable), size=max_questions, replace=False).tolist())]
    return _golden(usable), list(passages.values())


def _golden(rows: Sequence[QaRow]) -> list[dict[str, Any]]:
    """As `version-documents` writes golden questions; an id that occurs again gets its number."""
    seen: Counter[str] = Counter()
    golden = []
    for row in rows:
        seen[row.id] += 1
        passage = passage_of(row)
        golden.append(
            {
                "id": row.id if seen[row.id] == 1 else f"{row.id}#{seen[row.id]}",
                "lang": row.lang,
                "question": row.question,
                "answers": list(row.answers),
                "answerable": row.answerable,
                "passage_ids": [passage.passage_id] if row.answerable else [],
                "document_id": passage.document_id,
                "kind": "fact" if row.answerable else "unanswerable",
                "split": "test",
            }
        )
    return golden


@contextmanager
def own_index(
    client: Elasticsearch,
    passages: Sequence[Passage],
    encoder: OnnxEncoder,
    params: BuildIndexParams,
    kept: Path,
    progress: Progress,
) -> Iterator[str]:
    """The name of an index of ``passages`` for as long as the block runs; ``kept`` remembers vectors."""
    embedded = embed_remembered(encoder, [passage.content for passage in passages], kept, progress)
    name = f"evaluate-models-{secrets.token_hex(6)}"
    try:
        create_index(client, name, index_mapping(params.dense_options, encoder.dimensions), {"purpose": "evaluation"})
        fill_index(client, name, passages, embedded.vectors, progress)
        finish_index(client, name, len(passages))
        yield name
    finally:
        delete_indexes(client, [name])
