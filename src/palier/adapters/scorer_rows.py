"""What a reader says to public questions, as the scorer sees it: the rows that the starter learns from and that
`bench scorer` measures on.

Passages of the same articles are searched in memory, so that wrong ones are near. The price: no writer and no endpoint
speaks here, only the reader with two and with ten passages.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.question_pools import Pool, hits_of
from palier.adapters.reader_rung import ReaderRung
from palier.domain.answering import Hit, Question, RungAnswer
from palier.domain.documents import Lang, Passage, sha256_text
from palier.domain.scoring import TextEncoder, Verifier, agreement_features, features
from palier.domain.text_metrics import best_f1
from palier.params import Params
from palier.params import ReaderRung as ReaderParams


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One answer: what the scorer may look at, and how good it was (0..1)."""

    domain: str
    title: str
    rung: str
    answered: bool
    vector: NDArray[np.float64]
    quality: float
    signals: Mapping[str, float]
    features_ms: float
    """Processor time that this thread spent on the numbers: the answer's embedding and the verifier, above all."""


def answered_rows(
    rows: Sequence[Mapping[str, Any]],
    params: Params,
    reader: OnnxReader,
    encoder: TextEncoder,
    verifier: Verifier | None,
    progress: Callable[[int, int], None],
    wide_every: int = 4,
) -> list[ScoredRow]:
    """What the reader rungs of ``params`` say to QA ``rows`` (with a key ``domain``): the first one of the ladder to
    all, the others to each ``wide_every``-th question, beside the first's answer.
    """
    first, *others = [
        ReaderRung(name, reader, rung.passages, 0.0, rung.retrieval_weight)
        for name, rung in params.ladder.rungs.items()
        if isinstance(rung, ReaderParams)
    ]
    found: list[ScoredRow] = []
    for lang in ("en", "fr"):
        own = [row for row in rows if row["lang"] == lang]
        for place, (row, hits) in enumerate(
            _retrieved(own, lang, encoder, params.retrieval.dense_weight.get(lang, 0.0))
        ):
            question = Question(row["question"], lang)
            answer = first.answer(question, hits)
            found.append(_row(row, question, hits, answer, [], encoder, verifier))
            for other in others if place % wide_every == 0 else []:
                found.append(_row(row, question, hits, other.answer(question, hits), [answer.text], encoder, verifier))
            progress(len(found), len(rows))
    return found


def _retrieved(
    rows: Sequence[Mapping[str, Any]], lang: Lang, encoder: TextEncoder, dense_weight: float
) -> list[tuple[Mapping[str, Any], list[Hit]]]:
    if not rows:
        return []
    passages = {sha256_text(row["context"]): _passage(row, lang) for row in rows}
    pool = Pool("all", lang, tuple(passages.values()), ())
    asked = [row for row in rows if row["question"].strip()]
    questions = [Question(row["question"], lang) for row in asked]
    return list(zip(asked, hits_of(pool, questions, encoder, dense_weight), strict=True))


def _passage(row: Mapping[str, Any], lang: Lang) -> Passage:
    title = str(row["title"]).replace("_", " ")
    return Passage(sha256_text(row["context"])[:24], str(row["title"]), lang, title, "", str(row["context"]), 1, 1)


def _row(
    row: Mapping[str, Any],
    question: Question,
    hits: Sequence[Hit],
    answer: RungAnswer,
    earlier: Sequence[str],
    encoder: TextEncoder,
    verifier: Verifier | None,
) -> ScoredRow:
    busy = time.thread_time()
    alone = features(question, hits, answer, encoder, verifier)
    spent = 1000 * (time.thread_time() - busy)
    vector = np.concatenate([alone, agreement_features(answer.text, earlier, question.lang)])
    said, gold = answer.text, list(row["answers"])
    quality = (best_f1(said, gold, question.lang) if said else 0.0) if gold else float(not said)
    return ScoredRow(row["domain"], row["title"], answer.rung, bool(said), vector, quality, dict(answer.signals), spent)
