"""Building an index reconciles: what is there is reused, what is broken goes, and only new words are embedded."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from palier.adapters.index_gate import as_indexed
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever, connect
from palier.adapters.search_index import aliased_index, create_index, index_mapping, index_meta
from palier.commands.context import utc_now
from palier.domain.answering import Question
from palier.errors import NotReadyError, SearchError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import build_index, version_documents
from palier.stages.build_index import IndexBuild
from tests.adapters.tiny_encoder import write_tiny_encoder

TOPICS = ("prices", "hours", "delivery", "refunds", "allergens")

pytestmark = pytest.mark.service


@pytest.fixture
def params() -> Params:
    loaded = load_params(repository_root() / "params.yaml")
    limits = loaded.version_documents.model_copy(update={"min_golden_questions": 0})
    return loaded.model_copy(update={"version_documents": limits})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "documents" / "en").mkdir(parents=True)
    for topic in TOPICS:
        write_document(tmp_path, topic, f"All about {topic} stands here.")
    write_tiny_encoder(tmp_path / "models" / "encoder", ["all", "about", "stands", "here", *TOPICS])
    return tmp_path


def write_document(workspace: Path, topic: str, text: str) -> None:
    (workspace / "documents" / "en" / f"{topic}.md").write_text(f"# {topic}\n\n{text}\n", encoding="utf-8")


def build(
    params: Params, workspace: Path, client: Elasticsearch, alias: str, protected: frozenset[str] = frozenset()
) -> IndexBuild:
    version_documents.run(params, workspace)
    return build_index.run(params, workspace, client, alias, clock=utc_now, protected=protected)


def test_the_alias_points_at_a_complete_index_of_the_revision(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
):
    result = build(params, workspace, client, alias)
    assert result.index.startswith(f"passages-{result.revision[:12]}-")
    assert aliased_index(client, alias) == result.index
    assert client.count(index=alias)["count"] == result.n_passages == 5
    told = json.loads((workspace / "data" / "index.json").read_text(encoding="utf-8"))
    assert told["index"] == result.index
    assert told["settings"] == result.settings


def test_a_second_run_finds_everything_done(params: Params, workspace: Path, client: Elasticsearch, alias: str):
    first = build(params, workspace, client, alias)
    second = build(params, workspace, client, alias)
    assert (second.index, second.is_new, second.n_embedded) == (first.index, False, 0)


def test_only_changed_passages_are_embedded_and_old_ones_are_gone(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
):
    first = build(params, workspace, client, alias)
    write_document(workspace, "hours", "All hours are new.")
    second = build(params, workspace, client, alias)
    assert second.index != first.index
    assert (second.n_embedded, second.n_reused) == (1, 4)
    retriever = HybridRetriever(
        client, alias, OnnxEncoder(workspace / "models" / "encoder"), as_indexed(params.retrieval)
    )
    texts = {hit.passage.text for hit in retriever.search(Question("all about hours", "en"), 10)}
    assert "All hours are new." in texts
    assert "All about hours stands here." not in texts


def test_an_incremental_build_answers_exactly_like_a_full_one(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
):
    build(params, workspace, client, alias)
    write_document(workspace, "prices", "All prices have changed.")
    encoder = OnnxEncoder(workspace / "models" / "encoder")

    def answers(index: str) -> list[list[dict[str, object]]]:
        retriever = HybridRetriever(client, index, encoder, as_indexed(params.retrieval))
        return [[asdict(hit) for hit in retriever.search(Question(f"about {t}", "en"), 5)] for t in TOPICS]

    incremental = build(params, workspace, client, alias)
    assert incremental.n_reused == 4
    expected = answers(incremental.index)
    client.indices.delete(index=incremental.index)
    for cache in (workspace / ".cache" / "embeddings").iterdir():
        cache.unlink()
    full = build(params, workspace, client, alias)
    assert (full.index, full.is_new, full.n_embedded) == (incremental.index, True, 5)
    assert answers(full.index) == expected


def test_what_an_interrupted_build_left_is_thrown_away(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
):
    finished = build(params, workspace, client, alias)
    client.indices.delete(index=finished.index)
    for name in (finished.index, f"passages-{alias}-half"):
        create_index(client, name, index_mapping("hnsw", 384), {"alias": alias})
    again = build(params, workspace, client, alias)
    assert again.is_new
    assert set(again.deleted) == {finished.index, f"passages-{alias}-half"}
    assert (index_meta(client, again.index) or {})["complete"]


def test_old_builds_go_but_those_in_use_stay(params: Params, workspace: Path, client: Elasticsearch, alias: str):
    builds = [build(params, workspace, client, alias)]
    protected = frozenset({builds[0].index})
    for i in range(3):
        write_document(workspace, "hours", f"Open until {i}.")
        builds.append(build(params, workspace, client, alias, protected))
    there = [index_meta(client, item.index) is not None for item in builds]
    assert there == [True, False, True, True]
    assert builds[3].deleted == (builds[1].index,)


def test_other_settings_make_another_index_of_the_same_revision(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
):
    first = build(params, workspace, client, alias)
    flat = params.build_index.model_copy(update={"dense_options": "flat"})
    second = build(params.model_copy(update={"build_index": flat}), workspace, client, alias)
    assert second.revision == first.revision
    assert second.index != first.index
    assert second.n_embedded == 0


def test_before_the_documents_are_versioned_it_says_so(
    params: Params, workspace: Path, client: Elasticsearch, alias: str
):
    with pytest.raises(NotReadyError, match="version-documents"):
        build_index.run(params, workspace, client, alias, clock=utc_now)


def test_a_server_that_is_away_is_told_with_url_and_remedy(params: Params, workspace: Path):
    version_documents.run(params, workspace)
    with (
        connect("http://127.0.0.1:9", timeout_s=0.5) as client,
        pytest.raises(SearchError, match=r"127\.0\.0\.1:9 [\s\S]*palier services up"),
    ):
        build_index.run(params, workspace, client, "passages", clock=utc_now)
