"""How well, and how fast, the right passage is found: BM25, nearest vectors, both fused, and the fused ones reranked.

`palier bench retrieval --data FILE… --lang en|fr --out FILE.json`. All passages of the files (QA rows, as JSON lines)
go into an index of their own, which is deleted afterwards; each question has the passage that it was asked about as
the only right one, or several where an id occurs with several. Public files of this form can be made from SQuAD
(rajpurkar.github.io/SQuAD-explorer), PIAF (piaf.etalab.studio) and Natural Questions. Unanswerable questions are left
out, since no passage answers them. The price: other passages that would answer as well count as wrong.

Models and weights are those of the repository's `params.yaml`, unless `--encoder` or `--reranker` name a folder of
their own. `--asked-titles test` asks about articles that no committed starter was trained on, among the passages of
all; `validation` adds what other weights would give there, and what the starter reader would as a second look. One
thread answers one question after the other.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from elasticsearch import Elasticsearch

from bench.asked_rankings import (
    DEPTH,
    Answered,
    Asked,
    Ranking,
    Search,
    Stopwatch,
    TimedEncoder,
    TimedReranker,
    ask_all,
    differences,
    duel,
    losses,
    measures,
    tell_losses,
)
from bench.exported_models import exported_encoder, exported_reader, exported_reranker
from bench.report import QaRow, Report, TitlesAsked, check_titles, is_asked, read_qa, tell
from bench.retrieval_choices import SecondReaders, scan_choices
from palier.adapters.catalogue import sha256_file
from palier.adapters.embedding_cache import embed_remembered
from palier.adapters.onnx_cross_encoder import MODEL, OnnxCrossEncoder
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.search import Encoder, HybridRetriever, connect, search_many, wait_ready
from palier.adapters.search_bodies import dense_body, lexical_body
from palier.adapters.search_index import (
    create_index,
    delete_indexes,
    fill_index,
    finish_index,
    index_mapping,
)
from palier.domain.answering import Question
from palier.domain.documents import Lang, Passage, sha256_text
from palier.errors import InputError
from palier.params import Params, RetrievalParams, load_params
from palier.settings import repository_root

RERANK_DEPTH = 20
"""Of a language that `params.yaml` does not rerank."""
DIFFERENCES = (("dense", "bm25"), ("hybrid", "bm25"), ("reranked", "bm25"), ("reranked", "hybrid"))
NO_RERANKER = "there is no reranker: name one in train_encoder.reranker, or give --reranker"


@dataclass(frozen=True, slots=True)
class Models:
    """What is measured."""

    encoder: OnnxEncoder
    reranker: OnnxCrossEncoder | None
    reranker_sha256: str | None


def run(
    data: Sequence[Path],
    out: Path,
    *,
    lang: str | None = None,
    search_url: str,
    max_questions: int | None = None,
    asked_titles: TitlesAsked = "all",
    seed: int = 7,
    encoder_folder: Path | None = None,
    reranker_folder: Path | None = None,
    reader_folder: Path | None = None,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds. Raises InputError for files without a usable row."""
    check_titles(asked_titles)
    params = load_params(repository_root() / "params.yaml")
    models = _models(params, encoder_folder, reranker_folder)
    retrieval = _reranking(params.retrieval, models)
    told = {"lang": lang, "max_questions": max_questions, "asked_titles": asked_titles, "seed": seed}
    report = Report("retrieval", {**told, **_told(params, retrieval, models)})
    rows = []
    for path in data:
        read = read_qa(path)
        report.add_data(path, len(read))
        rows += read
    rng = np.random.default_rng(seed)
    passages, asked = prepare(rows, lang, asked_titles)
    asked = sample(asked, max_questions, rng)
    client = connect(search_url, timeout_s=60)
    wait_ready(client)
    results: dict[str, Any] = {"n_passages": len(passages)}
    with temporary_index(client, passages, models.encoder, params) as index:
        answered = _ask(client, index, models, retrieval, asked)
        if asked_titles == "validation":
            plain = HybridRetriever(client, index, models.encoder, retrieval.model_copy(update={"rerank": {}}))
            second = SecondReaders(models.reranker, _reader(params, reader_folder))
            results["choices"] = scan_choices(plain, second, asked, retrieval)
    return report.write(out, results | _results(answered, asked, rng))


def _models(params: Params, encoder_folder: Path | None, reranker_folder: Path | None) -> Models:
    section = params.train_encoder
    encoder = OnnxEncoder(encoder_folder or exported_encoder(section.base, section.starter))
    folder = reranker_folder or exported_reranker(section)
    if folder is None:
        return Models(encoder, None, None)
    return Models(encoder, OnnxCrossEncoder(folder), sha256_file(folder / MODEL))


def _reader(params: Params, folder: Path | None) -> OnnxReader | None:
    if folder is None and params.train_reader.starter is None:
        return None
    return OnnxReader(folder or exported_reader(params))


def _reranking(retrieval: RetrievalParams, models: Models) -> RetrievalParams:
    """The params with reranking on in both languages where there is a reranker, and off where there is none."""
    depths = {lang: retrieval.rerank.get(lang) or RERANK_DEPTH for lang in get_args(Lang)}
    return retrieval.model_copy(update={"rerank": depths if models.reranker else {}})


def prepare(
    rows: Sequence[QaRow], lang: str | None, asked_titles: TitlesAsked = "all"
) -> tuple[list[Passage], list[Asked]]:
    """Distinct passages (by title and text) and the answerable questions, of ``lang`` or of both languages.

    Only questions on ``asked_titles`` are asked; the passages are those of all titles.
    """
    rows = [row for row in rows if row.lang == (lang or row.lang)]
    unknown = {row.lang for row in rows} - set(get_args(Lang))
    if not rows or unknown:
        raise InputError(
            f"No rows of language {lang} in the data." if not rows else f"Languages {sorted(unknown)} are not known."
        )
    passages: dict[str, Passage] = {}
    asked: dict[tuple[str, str], Asked] = {}
    for row in rows:
        passage = _passage(row)
        passages.setdefault(passage.passage_id, passage)
        if row.answerable and is_asked(row, asked_titles):
            question = Question(row.question, passage.lang)
            entry = asked.setdefault((row.id, row.question), Asked(question, row_id=row.id))
            entry.relevant.add(passage.passage_id)
    if not asked:
        raise InputError(f"No row has a question that is answerable on {asked_titles} titles: nothing to measure.")
    return list(passages.values()), list(asked.values())


def _passage(row: QaRow) -> Passage:
    title = row.title.replace("_", " ")
    key = sha256_text(f"{title}\n{row.context}")[:24]
    lang: Lang = "fr" if row.lang == "fr" else "en"
    n_lines = row.context.count("\n") + 1
    return Passage(key, row.title or key, lang, title, "", row.context, 1, n_lines)


def sample(asked: list[Asked], n: int | None, rng: np.random.Generator) -> list[Asked]:
    """``n`` of the questions, drawn without replacement, in their order; all of them without ``n``."""
    if n is None or n >= len(asked):
        return asked
    return [asked[i] for i in sorted(rng.choice(len(asked), size=n, replace=False))]


@contextmanager
def temporary_index(
    client: Elasticsearch, passages: Sequence[Passage], encoder: OnnxEncoder, params: Params
) -> Iterator[str]:
    """An index of ``passages`` for as long as the block runs."""
    cache = repository_root() / ".palier" / "bench" / "embeddings"
    embedded = embed_remembered(encoder, [passage.content for passage in passages], cache, _Teller())
    name = f"bench-retrieval-{secrets.token_hex(6)}"
    try:
        mapping = index_mapping(params.build_index.dense_options, encoder.dimensions)
        create_index(client, name, mapping, {"purpose": "benchmark"})
        fill_index(client, name, passages, embedded.vectors, _Teller())
        finish_index(client, name, len(passages))
        yield name
    finally:
        delete_indexes(client, [name])


def _ask(
    client: Elasticsearch, index: str, models: Models, retrieval: RetrievalParams, asked: Sequence[Asked]
) -> dict[str, Answered]:
    """What each mode finds; the encoder and the reranker are timed on the way."""
    encoder = TimedEncoder(models.encoder)
    plain = HybridRetriever(client, index, encoder, retrieval.model_copy(update={"rerank": {}}))
    modes: dict[str, Search] = {
        "bm25": partial(search_bm25, client, index, retrieval),
        "dense": partial(search_dense, client, index, encoder),
        "hybrid": partial(search_hybrid, plain),
    }
    laps: dict[str, Stopwatch] = {"encode": encoder}
    if models.reranker:
        laps["rerank"] = reranker = TimedReranker(models.reranker)
        modes["reranked"] = partial(search_hybrid, HybridRetriever(client, index, encoder, retrieval, reranker))
    return {mode: ask_all(mode, search, asked, laps) for mode, search in modes.items()}


def search_bm25(client: Elasticsearch, index: str, retrieval: RetrievalParams, question: Question) -> Ranking:
    """The first 100 by BM25 alone."""
    body = lexical_body(question.standalone, question.lang, DEPTH, retrieval.fields, retrieval.exact_weight)
    (hits,) = search_many(client, index, [body])
    return [hit["_id"] for hit in hits]


def search_dense(client: Elasticsearch, index: str, encoder: Encoder, question: Question) -> Ranking:
    """The nearest 100, embedding the question included."""
    vector = encoder.embed([question.standalone])[0]
    (hits,) = search_many(client, index, [dense_body(vector, question.lang, DEPTH)])
    return [hit["_id"] for hit in hits]


def search_hybrid(retriever: HybridRetriever, question: Question) -> Ranking:
    """The first 100 as the platform would retrieve them."""
    return [hit.passage.passage_id for hit in retriever.search(question, DEPTH)]


def _results(answered: Mapping[str, Answered], asked: Sequence[Asked], rng: np.random.Generator) -> dict[str, Any]:
    hybrid, bm25 = answered["hybrid"], answered["bm25"]
    lost, counts = losses(hybrid, bm25, asked, ("hybrid", "bm25")), duel(hybrid, bm25, asked)
    tell_losses(lost, counts)
    return {
        **{mode: measures(found, asked, rng) for mode, found in answered.items()},
        "differences": {
            f"{better}-{rival}": differences(answered[better], answered[rival], asked, rng)
            for better, rival in DIFFERENCES
            if better in answered
        },
        "hybrid_against_bm25": counts,
        "hybrid_loses": lost,
    }


def _told(params: Params, retrieval: RetrievalParams, models: Models) -> Mapping[str, Any]:
    return {
        "encoder_sha256": models.encoder.sha256,
        "reranker_sha256": models.reranker_sha256,
        "dense_options": params.build_index.dense_options,
        "retrieval": retrieval.model_dump(mode="json"),
        "not_measured": {} if models.reranker else {"reranked": NO_RERANKER},
    }


class _Teller:
    """Progress of the stages' shape, told in steps of a tenth."""

    def __init__(self) -> None:
        self._told = -1

    def __call__(self, done: int, total: int, what: str) -> None:
        tenth = 10 * done // max(1, total)
        if tenth != self._told:
            self._told = tenth
            tell(f"{what}: {done}/{total}")
