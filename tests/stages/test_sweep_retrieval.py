"""The sweep tries the grid on real indexes, remembers what is finished, and replaces only what is shown to be worse."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from palier.adapters.documents_folder import read_documents
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.remembered import Remembered
from palier.adapters.sweep.corpus import cut_corpus
from palier.adapters.sweep.indexes import TrialIndexes
from palier.adapters.sweep.points import _CutTrial
from palier.adapters.workspace import Workspace
from palier.domain.retrieval_sweep import Point
from palier.errors import NotReadyError
from palier.params import Params, load_params
from palier.settings import Settings, repository_root
from palier.stages import sweep_retrieval, version_documents
from tests.adapters.tiny_encoder import write_tiny_encoder
from tests.adapters.tiny_reranker import write_tiny_reranker

THINGS = ("oven", "table", "menu", "window", "bicycle", "receipt", "garden", "kitchen", "cellar", "roof")

GRID: dict[str, Any] = {
    "passage_words": (20,),
    "overlap_words": (0,),
    "fields": (("title", "headings", "text"), ("text",)),
    "exact_weight": (0.0,),
    "wording_weight": (0.0,),
    "candidates": (5,),
    "dense_weight": (0.2, 0.8),
    "rrf_constant": (10,),
    "rerank": (0, 3),
    "rerank_weight": (0.5,),
}

pytestmark = pytest.mark.service


@pytest.fixture
def params() -> Params:
    loaded = load_params(repository_root() / "params.yaml")
    documents = loaded.version_documents.model_copy(update={"min_golden_questions": 0, "passage_words": 40})
    sweep = loaded.sweep_retrieval.model_copy(update=GRID)
    retrieval = loaded.retrieval.model_copy(update={"wording_weight": 0.0})
    changed = {"version_documents": documents, "sweep_retrieval": sweep, "retrieval": retrieval, "languages": ("en",)}
    return loaded.model_copy(update=changed)


@pytest.fixture
def workspace(tmp_path: Path, params: Params) -> Path:
    """Ten documents; each golden question names its document's thing in words that only the title tells."""
    rows = []
    for i, thing in enumerate(THINGS):
        text = (
            f"# The {thing}\n\nIt was bought in 19{10 + i} by Ada, who paid {i} pounds.\n\n" + "It is kept well. " * 12
        )
        (tmp_path / "documents" / "en").mkdir(parents=True, exist_ok=True)
        (tmp_path / "documents" / "en" / f"{thing}.md").write_text(text + "\n", encoding="utf-8")
        rows.append(golden_row(thing, "bought", f"in 19{10 + i}"))
    (tmp_path / "golden").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "golden" / "en.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "models" / "reranker").mkdir(parents=True)  # as `train-encoder` leaves it where none is asked for
    write_tiny_encoder(tmp_path / "models" / "encoder", ["it", "was", "bought", "by", "when", "the", *THINGS])
    version_documents.run(params, tmp_path)
    return tmp_path


def golden_row(thing: str, verb: str, answer: str) -> dict[str, Any]:
    return {
        "id": f"q-{thing}",
        "lang": "en",
        "question": f"When was the {thing} {verb}?",
        "answers": [answer],
        "document_id": f"en/{thing}",
        "quote": f"It was {verb} {answer} by Ada",
        "answerable": True,
        "kind": "fact",
        "split": "validation",
    }


def sweep(params: Params, workspace: Path, client: Elasticsearch) -> sweep_retrieval.SweptRetrieval:
    return sweep_retrieval.run(params, workspace, client, Settings())


def test_a_sweep_tries_all_leaves_its_files_and_goes_on_where_it_was(
    params: Params, workspace: Path, client: Elasticsearch
):
    first = sweep(params, workspace, client)
    # two cuts, two sets of fields, two exact weights, two numbers of candidates (one of each in use), two fusions
    assert (first.n_points, first.n_remembered) == (32, 0)
    assert set(first.skipped) == {"rerank", "answers"}
    told = json.loads((workspace / "data" / "sweep" / "results.json").read_text(encoding="utf-8"))
    assert len(told["points"]) == 32
    assert any(point["on_front"] for point in told["points"])
    for name in first.files:
        assert (workspace / "data" / "sweep" / name).stat().st_size > 0
    assert {"retrieval.png", "retrieval.svg"} <= set(first.files)
    assert not client.indices.get(index="sweep-*")
    again = sweep(params, workspace, client)
    assert (again.n_points, again.n_remembered, again.chosen) == (32, 32, first.chosen)
    assert json.loads((workspace / "data" / "sweep" / "results.json").read_text(encoding="utf-8")) == told


def test_what_is_shown_to_be_worse_is_replaced_and_the_params_say_so(
    params: Params, workspace: Path, client: Elasticsearch
):
    """Only titles tell the documents apart, so a search over texts alone must lose its place."""
    blind = params.retrieval.model_copy(update={"fields": ("text",), "exact_weight": 0.0, "dense_weight": {"en": 0.0}})
    result = sweep(params.model_copy(update={"retrieval": blind}), workspace, client)
    assert result.chosen == "tuned search"
    assert "title" in result.changes["retrieval"].get("fields", ()) or result.changes["retrieval"]["dense_weight"]["en"]
    assert result.metrics["chosen.ndcg_at_10"] > result.metrics["in_use.ndcg_at_10"] + 0.1
    assert result.recommended.startswith("retrieval:\n")


def test_reranking_is_tried_where_there_is_a_reranker(params: Params, workspace: Path, client: Elasticsearch):
    write_tiny_reranker(workspace / "models" / "reranker", ["when", "was", "bought", *THINGS])
    result = sweep(params, workspace, client)
    assert set(result.skipped) == {"answers"}
    assert "reranking chosen anew" in [name for name, _, _ in result.trials]


@pytest.mark.parametrize("end_to_end", [0, 1])
def test_a_better_search_is_found_though_no_rival_is_answered_for(params: Params, workspace: Path, end_to_end: int):
    """Every point is remembered from before, so nothing is searched: titles find all, texts alone find half of it."""
    blind = params.retrieval.model_copy(update={"fields": ("text",)})
    few = params.sweep_retrieval.model_copy(update={"end_to_end": end_to_end})
    params = params.model_copy(update={"retrieval": blind, "sweep_retrieval": few})
    place = Workspace(workspace)
    documents = read_documents(place.documents, ("en",), params.version_documents.max_document_bytes).documents
    corpus, encoder = cut_corpus(params, place, documents), OnnxEncoder(place.encoder)
    away = Elasticsearch("http://127.0.0.1:9")
    indexes = TrialIndexes(away, workspace, encoder, params.build_index, place.cache, 50, lambda *_: None)
    memory, grid = Remembered(place.cache / "sweep" / "finished.jsonl"), sweep_retrieval.grid_of(params)
    for cut in corpus.cuts.values():
        trial = _CutTrial(indexes, params.retrieval, corpus.questions, cut)
        for setting in grid.settings(cut):
            tunings = grid.tunings[setting.fusion]
            scores = {"en": np.full((3, len(tunings), len(THINGS)), 1.0 if "title" in setting.fields else 0.5)}
            memory.put(trial.key(setting, tunings), Point(setting, tunings, scores, 10.0, 20.0).plain())
    study = sweep_retrieval._Sweep(params, place, corpus, indexes, lambda *_: None).study(Settings())
    assert study.reason.startswith("retrieval is better")
    assert "title" in study.changes["retrieval"]["fields"]
    assert ("end_to_end is 0" in study.skipped["answers"]) == (end_to_end == 0)


def test_documents_that_changed_since_they_were_versioned_are_told(
    params: Params, workspace: Path, client: Elasticsearch
):
    (workspace / "documents" / "en" / "roof.md").write_text("# The roof\n\nGone.\n", encoding="utf-8")
    with pytest.raises(NotReadyError, match="version-documents"):
        sweep(params, workspace, client)
    shutil.rmtree(workspace / "data")
    with pytest.raises(NotReadyError, match="version-documents"):
        sweep(params, workspace, client)
