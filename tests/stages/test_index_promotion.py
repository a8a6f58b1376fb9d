"""An index becomes live only through the gate, only by the newest run, and never at the cost of somebody's work."""

import json
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from palier.adapters.build_marks import Builder, claimed, only_builder
from palier.adapters.index_fence import FENCE, live_state, make_live, roll_back, take_token
from palier.adapters.index_gate import Candidate, count_findings, examine
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search_index import (
    add_meta,
    create_index,
    delete_indexes,
    fill_index,
    finish_index,
    index_mapping,
    index_meta,
    indexes_of,
)
from palier.adapters.workspace import Workspace, read_jsonl
from palier.commands.context import utc_now
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion
from palier.errors import DataGateError, SearchError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import build_index, version_documents
from palier.stages.build_index import IndexBuild
from tests.adapters.tiny_encoder import write_tiny_encoder

N = 24
ANIMALS = [f"animal{i}" for i in range(N)]
FOODS = [f"food{i}" for i in range(N)]

pytestmark = pytest.mark.service


@pytest.fixture
def params() -> Params:
    loaded = load_params(repository_root() / "params.yaml")
    limits = loaded.version_documents.model_copy(update={"min_golden_questions": 0})
    # By words alone: what the tiny encoder thinks is near is not to decide here.
    retrieval = loaded.retrieval.model_copy(update={"dense_weight": {"en": 0.0, "fr": 0.0}, "wording_weight": 0.0})
    return loaded.model_copy(update={"version_documents": limits, "retrieval": retrieval})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """24 documents, each with what one animal eats, and a golden question about each."""
    (tmp_path / "golden").mkdir()
    rows = []
    for i, (animal, food) in enumerate(zip(ANIMALS, FOODS, strict=True)):
        write_document(tmp_path, i, f"The {animal} eats {food} every day.")
        rows.append(golden(i, f"The {animal} eats {food}", f"What does the {animal} eat?", food))
    (tmp_path / "golden" / "en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_tiny_encoder(tmp_path / "models" / "encoder", ["the", "eats", "every", "day", *ANIMALS, *FOODS])
    return tmp_path


def write_document(workspace: Path, i: int, text: str) -> None:
    path = workspace / "documents" / "en" / f"page-{i}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# Page {i}\n\n{text}\n", encoding="utf-8")


def golden(i: int, quote: str, question: str, answer: str) -> dict[str, Any]:
    return {
        "id": f"q{i}",
        "lang": "en",
        "question": question,
        "answers": [answer],
        "document_id": f"en/page-{i}",
        "quote": quote,
        "answerable": True,
        "kind": "fact",
        "split": "validation",
    }


def build(params: Params, workspace: Path, client: Elasticsearch, alias: str) -> IndexBuild:
    version_documents.run(params, workspace)
    return build_index.run(params, workspace, client, alias, clock=utc_now)


def bury_the_answers(workspace: Path) -> None:
    """Add so many pages that speak of nothing but the animals that the golden passages come last."""
    for i, animal in enumerate(ANIMALS):
        for copy in range(12):
            write_document(workspace, 1000 + 100 * i + copy, f"{animal} {animal}, does {animal} eat? Number {copy}.")


def test_the_first_index_passes_on_counts_and_probes_and_records_its_scores(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
) -> None:
    made = build(params, workspace, client, alias)
    assert made.gate is not None
    assert made.gate.quality.compared_with == "no index is live yet"
    assert made.gate.n_probes == 10
    meta = index_meta(client, made.index) or {}
    assert len(meta["gate"]["scores"]) == made.gate.quality.n == N
    assert (meta["complete"], meta["n_passages"], meta["token"]) == (True, N, made.token)
    assert live_state(client, alias).token == made.token
    told = json.loads((workspace / "data" / "index.json").read_text(encoding="utf-8"))
    assert told["gate"]["quality"]["new"] == made.gate.quality.new


def test_an_edit_that_harms_nothing_passes_and_the_old_index_is_the_way_back(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
) -> None:
    first = build(params, workspace, client, alias)
    write_document(workspace, 3, "The animal3 eats food3 every day. It sleeps.")
    second = build(params, workspace, client, alias)
    assert second.gate is not None
    assert (second.gate.quality.n, second.gate.quality.compared_with) == (N, "asked now")
    assert second.gate.quality.low == 0.0
    assert second.previous == first.index
    assert roll_back(client, alias, utc_now()).index == first.index
    third = build(params, workspace, client, alias)  # a newer decision, of the same documents
    assert (third.index, third.is_new) == (second.index, False)
    assert live_state(client, alias).index == second.index


def test_a_worse_index_is_refused_with_its_figures_and_the_alias_stays(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
) -> None:
    first = build(params, workspace, client, alias)
    bury_the_answers(workspace)
    for _ in range(2):  # the second time it is only examined again
        with pytest.raises(DataGateError, match=r"24 golden questions[\s\S]*max_quality_drop"):
            build(params, workspace, client, alias)
        assert live_state(client, alias).index == first.index
        refused = {name: meta for name, meta in indexes_of(client, alias).items() if name != first.index}
        ((name, meta),) = refused.items()
        assert meta["complete"]
        assert len(meta["gate"]["findings"]) == 1
    lenient = params.build_index.model_copy(update={"max_quality_drop": 1.0})
    allowed = build(params.model_copy(update={"build_index": lenient}), workspace, client, alias)
    assert (allowed.index, allowed.is_new) == (name, False)
    assert live_state(client, alias).index == name


def test_an_index_of_another_encoder_is_compared_by_what_it_recorded(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
) -> None:
    first = build(params, workspace, client, alias)
    assert first.gate is not None
    write_tiny_encoder(workspace / "models" / "encoder", ["the", *ANIMALS], seed=1)
    second = build(params, workspace, client, alias)
    assert second.gate is not None
    assert second.index != first.index
    assert second.gate.quality.compared_with == "recorded"
    assert second.gate.quality.live == first.gate.quality.new


def test_a_question_whose_answer_has_left_the_documents_is_not_compared(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
) -> None:
    build(params, workspace, client, alias)
    write_document(workspace, 3, "The animal3 is on a diet.")
    second = build(params, workspace, client, alias)
    assert second.gate is not None
    assert second.gate.quality.n == N - 1


def test_counts_and_probes_see_what_is_missing_foreign_or_not_searchable(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
) -> None:
    version_documents.run(params, workspace)
    rows = read_jsonl(Workspace(workspace).corpus / "passages.jsonl", "version-documents")
    passages, encoder = [Passage(**row) for row in rows], OnnxEncoder(workspace / "models" / "encoder")
    name = f"passages-{alias}-1"
    held = [*passages[:-1], replace(passages[-1], passage_id="foreign", lang="fr")]
    create_index(client, name, index_mapping("flat", encoder.dimensions), {"alias": alias})
    vectors = np.roll(encoder.embed([passage.content for passage in held]), 1, axis=0)  # each passage its neighbour's
    fill_index(client, name, held, vectors)
    finish_index(client, name, len(held))
    assert count_findings(client, name, held) == []
    assert count_findings(client, name, passages) == [
        f"{N - 1} passages in en, expected {N}",
        f"1 passages are not there, as {passages[-1].passage_id}",
    ]
    rows_asked = [GoldenQuestion.model_validate_json(json.dumps(row)) for row in _golden_rows(workspace)]
    report = examine(client, Candidate(name, passages, rows_asked, encoder), None, params)
    assert not report.is_accepted
    assert any(finding.startswith("vector search in en finds") for finding in report.findings)
    assert not any(finding.startswith("BM25") for finding in report.findings)
    assert (index_meta(client, name) or {})["gate"]["findings"] == list(report.findings)


def _golden_rows(workspace: Path) -> list[dict[str, Any]]:
    return read_jsonl(Workspace(workspace).corpus / "golden.jsonl", "version-documents")


def test_a_run_that_is_overtaken_while_it_builds_does_not_win(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
) -> None:
    """A newer run, on another machine, makes its index live while this one is still filling."""
    first = build(params, workspace, client, alias)
    write_document(workspace, 3, "The animal3 eats food3 every day. It sleeps.")
    version_documents.run(params, workspace)

    def overtake(_done: int, _total: int, what: str) -> None:
        if what == "index passages" and live_state(client, alias).token == first.token:
            make_live(client, alias, first.index, take_token(client, alias, utc_now()))

    with pytest.raises(SearchError, match="began after this one"):
        build_index.run(params, workspace, client, alias, clock=utc_now, progress=overtake)
    assert live_state(client, alias).index == first.index


def test_another_machines_half_built_index_of_the_same_content_is_left_alone(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
) -> None:
    """Both build, under two names; once the other has been silent for long, its leftover is reaped."""
    planned = build(params, workspace, client, alias)
    delete_indexes(client, [planned.index])
    other = Builder(alias, "another machine", take_token(client, alias, utc_now()), utc_now)
    with claimed(client, planned.index, other):
        create_index(client, planned.index, index_mapping("hnsw", 384), {"alias": alias, "token": other.token})
        ours = build(params, workspace, client, alias)
        assert ours.index == f"{planned.index}-{ours.token}"
        assert ours.deleted == ()
        assert index_meta(client, planned.index) == {"alias": alias, "token": other.token, "complete": False}
    assert live_state(client, alias).index == ours.index
    mark = {"alias": alias, "index": planned.index, "owner": "another machine", "token": other.token}
    long_ago = (utc_now() - timedelta(hours=1)).isoformat()
    client.index(index=FENCE, id=f"build:{planned.index}", document={**mark, "beat_at": long_ago})
    assert planned.index in build(params, workspace, client, alias).deleted


def test_an_index_that_another_run_made_anew_is_not_finished(client: Elasticsearch, alias: str) -> None:
    name = f"passages-{alias}-1"
    create_index(client, name, index_mapping("flat", 8), {"alias": alias, "token": 8})
    with pytest.raises(SearchError, match=r"made by run 8 \(this is 7\)"):
        finish_index(client, name, 0, token=7)
    add_meta(client, name, {"token": 7})
    finish_index(client, name, 0, token=7)
    assert (index_meta(client, name) or {})["complete"]


def test_nothing_is_left_of_the_marks_of_a_build(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
) -> None:
    made = build(params, workspace, client, alias)
    assert not client.exists(index=FENCE, id=f"build:{made.index}")
    with only_builder(workspace / ".cache" / "build-index.lock") as owner:
        assert len(owner) == 16
    assert asdict(made)["token"] == made.token
