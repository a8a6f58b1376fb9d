"""Asks a new index what `domain.index_gate` wants to know, and the live one as well.

Each index is asked with the encoder that embedded it. Where that one is gone, since training has replaced it, those
scores count that the index wrote down when it was examined itself. Price: some hundred searches per build, seconds.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever, passage_of, search_many
from palier.adapters.search_bodies import PASSAGE_FIELDS, dense_body, lexical_body
from palier.adapters.search_index import add_meta, asking, index_meta
from palier.domain import index_gate
from palier.domain.documents import Lang, Passage
from palier.domain.golden import GoldenQuestion, gold_passages
from palier.domain.index_gate import GateReport, Quality
from palier.domain.ranking_metrics import ndcg
from palier.errors import DataGateError
from palier.params import Params, RetrievalParams

_IDS_PER_REQUEST = 1000
_SEARCHES_PER_REQUEST = 20
_MAX_PASSAGES_OF_DOCUMENT = 1000
_MISSING_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that wants to be live, and what it should hold. ``rows`` are all golden questions of the corpus."""

    index: str
    passages: Sequence[Passage]
    rows: Sequence[GoldenQuestion]
    encoder: OnnxEncoder


def examine(client: Elasticsearch, candidate: Candidate, live: str | None, params: Params) -> GateReport:
    """Counts, probes, and quality against ``live``; what came out is also written into the index's own ``_meta``.

    Nothing is refused here; see `require`. Raises SearchError when Elasticsearch is away.
    """
    limits, retrieval = params.build_index, as_indexed(params.retrieval)
    probes = index_gate.choose_probes(candidate.passages)
    findings = count_findings(client, candidate.index, candidate.passages)
    findings += index_gate.probe_findings(list(_probed(client, candidate, probes)))
    rows = index_gate.gate_questions(candidate.rows)
    scores = golden_scores(client, candidate.index, rows, candidate.encoder, retrieval)
    quality = _quality(client, scores, rows, candidate, live, params)
    findings += index_gate.quality_findings(quality, limits.max_quality_drop, limits.confidence)
    report = GateReport(tuple(findings), len(probes), quality)
    add_meta(client, candidate.index, {"gate": index_gate.told(report, scores)})
    return report


def require(report: GateReport, index: str, live: str | None) -> None:
    """Raises DataGateError with all findings when the index was not accepted."""
    if report.is_accepted:
        return
    reasons = "\n".join(f"  {finding}" for finding in report.findings)
    raise DataGateError(
        f"The index gate refuses {index}; {live or 'no index'} stays live. {len(report.findings)} finding(s):\n"
        f"{reasons}\n"
        "The refused index is kept for a look (`palier index status`). Mend the documents or the settings that "
        "changed, or allow a larger build_index.max_quality_drop, then run `palier build-index` again."
    )


def as_indexed(retrieval: RetrievalParams) -> RetrievalParams:
    """The gate judges the index, not what is done with hits afterwards: read again, or left out as near-duplicates."""
    return retrieval.model_copy(update={"rerank": {}, "collapse_duplicates": False})


def count_findings(client: Elasticsearch, index: str, passages: Sequence[Passage]) -> list[str]:
    """What is wrong with the number of passages, in all and per language, and which ones are not there."""
    expected: dict[str, int] = {"": len(passages), **Counter(passage.lang for passage in passages)}
    findings = []
    with asking(client, f"count the index {index}"):
        for lang, n_expected in expected.items():
            query: Mapping[str, Any] = {"term": {"lang": lang}} if lang else {"match_all": {}}
            n_found = client.count(index=index, query=query)["count"]
            if n_found != n_expected:
                findings.append(f"{n_found} passages{f' in {lang}' if lang else ''}, expected {n_expected}")
        missing = _missing(client, index, [passage.passage_id for passage in passages])
    if missing:
        findings.append(f"{len(missing)} passages are not there, as {', '.join(missing[:_MISSING_SHOWN])}")
    return findings


def _missing(client: Elasticsearch, index: str, ids: Sequence[str]) -> list[str]:
    """Ids that cannot be found. They are counted first, since all are there as a rule."""
    missing: list[str] = []
    for start in range(0, len(ids), _IDS_PER_REQUEST):
        part = ids[start : start + _IDS_PER_REQUEST]
        if client.count(index=index, query={"ids": {"values": list(part)}})["count"] != len(part):
            found = client.mget(index=index, ids=list(part), source=False)["docs"]
            missing += [doc["_id"] for doc in found if not doc.get("found")]
    return missing


def _probed(client: Elasticsearch, candidate: Candidate, probes: Sequence[Passage]) -> Iterator[tuple[Lang, str, bool]]:
    """The vector search is asked with the passage's whole content: its vector must lead back to it."""
    for probe in probes:
        bodies = [
            lexical_body(index_gate.probe_text(probe), probe.lang, index_gate.DEPTH),
            dense_body(candidate.encoder.embed([probe.content])[0], probe.lang, index_gate.DEPTH),
        ]
        answers = search_many(client, candidate.index, bodies)
        for search, hits in zip(("BM25", "vector search"), answers, strict=True):
            yield probe.lang, search, index_gate.answers_probe(probe, [passage_of(hit) for hit in hits])


def golden_scores(
    client: Elasticsearch,
    index: str,
    rows: Sequence[GoldenQuestion],
    encoder: OnnxEncoder,
    retrieval: RetrievalParams,
) -> dict[str, float]:
    """nDCG@10 of hybrid search by question key, for the questions whose quote stands in the index."""
    documents = passages_of(client, index, [row.document_id for row in rows])
    retriever = HybridRetriever(client, index, encoder, retrieval)
    scores = {}
    for row in rows:
        relevant = gold_passages(row, documents[row.document_id])
        if relevant:
            ranked = [hit.passage.passage_id for hit in retriever.search(row.asked(), index_gate.DEPTH)]
            scores[index_gate.question_key(row)] = ndcg(ranked, relevant, index_gate.DEPTH)
    return scores


def passages_of(client: Elasticsearch, index: str, document_ids: Sequence[str]) -> dict[str, list[Passage]]:
    """The passages of each document, in its order; empty for one that the index does not hold."""
    ids = list(dict.fromkeys(document_ids))
    found: dict[str, list[Passage]] = {}
    for start in range(0, len(ids), _SEARCHES_PER_REQUEST):
        part = ids[start : start + _SEARCHES_PER_REQUEST]
        answers = search_many(client, index, [_document_body(document_id) for document_id in part])
        for document_id, hits in zip(part, answers, strict=True):
            found[document_id] = sorted((passage_of(hit) for hit in hits), key=_place)
    return found


def _document_body(document_id: str) -> dict[str, Any]:
    query = {"term": {"document_id": document_id}}
    return {"query": query, "size": _MAX_PASSAGES_OF_DOCUMENT, "_source": list(PASSAGE_FIELDS)}


def _place(passage: Passage) -> tuple[int, int]:
    return passage.start_line, passage.end_line


def _quality(
    client: Elasticsearch,
    scores: Mapping[str, float],
    rows: Sequence[GoldenQuestion],
    candidate: Candidate,
    live: str | None,
    params: Params,
) -> Quality:
    before, how = _live_scores(client, rows, candidate, live, params)
    rng = np.random.default_rng(params.seed)
    bound = index_gate.one_sided(params.build_index.confidence, rng)
    return index_gate.judge_quality(scores, before, how, bound)


def _live_scores(
    client: Elasticsearch,
    rows: Sequence[GoldenQuestion],
    candidate: Candidate,
    live: str | None,
    params: Params,
) -> tuple[Mapping[str, float] | None, str]:
    meta = index_meta(client, live) if live else None
    if live is None or meta is None:
        return None, "no index is live yet"
    if meta.get("settings", {}).get("encoder_sha256") == candidate.encoder.sha256:
        retrieval = as_indexed(params.retrieval)
        return golden_scores(client, live, rows, candidate.encoder, retrieval), "asked now"
    recorded: Mapping[str, float] | None = meta.get("gate", {}).get("scores")
    return recorded, "recorded" if recorded else "another encoder, and nothing recorded"
