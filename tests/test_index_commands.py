"""`palier index` tells what is live and leads back, as text and as JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from typer.testing import CliRunner

from palier.__main__ import build_app
from palier.adapters.index_fence import live_state
from palier.adapters.search_index import add_meta, create_index, delete_indexes, index_mapping
from palier.commands.context import utc_now
from palier.commands.workspaces import make_workspace
from palier.errors import NotReadyError, ServiceError
from palier.params import load_params
from palier.settings import repository_root
from palier.stages import build_index, version_documents
from tests.adapters.tiny_encoder import write_tiny_encoder

Palier = Callable[..., str]

pytestmark = pytest.mark.service


@pytest.fixture
def palier(search_url: str, alias: str) -> Palier:
    """Runs a command in this process, against the alias of this test; what it prints."""

    def call(*arguments: str) -> str:
        environment = {"ELASTICSEARCH_URL": search_url, "PALIER_INDEX_ALIAS": alias}
        result = CliRunner().invoke(build_app(), ["index", *arguments], env=environment)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return call


def build_two(client: Elasticsearch, alias: str, workspace: Path) -> list[str]:
    params = load_params(repository_root() / "params.yaml")
    limits = params.version_documents.model_copy(update={"min_golden_questions": 0})
    params = params.model_copy(update={"version_documents": limits})
    write_tiny_encoder(workspace / "models" / "encoder", ["some", "words"])
    names = []
    for text in ("Some words that stand here.", "Some other words that stand here."):
        path = workspace / "documents" / "en" / "page.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Page\n\n{text}\n", encoding="utf-8")
        version_documents.run(params, workspace)
        names.append(build_index.run(params, workspace, client, alias, clock=utc_now).index)
    return names


def test_status_and_rollback(palier: Palier, client: Elasticsearch, alias: str, tmp_path: Path) -> None:
    """What is live is told with its size and run; the way back takes one command, and so does the way forth."""
    assert "run `palier build-index`" in palier("status")
    with pytest.raises(NotReadyError, match="no way back"):
        palier("rollback")
    old, new = build_two(client, alias, tmp_path)
    create_index(client, f"passages-{alias}-half", index_mapping("flat", 8), {"alias": alias})
    told = json.loads(palier("status", "--json"))
    assert (told["live"], told["previous"], told["token"]) == (new, old, live_state(client, alias).token)
    rows: dict[str, dict[str, Any]] = {row["index"]: row for row in told["indexes"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        new: "live",
        old: "previous",
        f"passages-{alias}-half": "unfinished",
    }
    assert rows[new]["n_passages"] == 1
    assert rows[new]["bytes"] > 0
    assert rows[old]["token"] < rows[new]["token"]
    assert "scores" not in rows[new]["gate"]

    back = json.loads(palier("rollback", "--json"))
    assert (back["index"], back["previous"], back["before"], back["same_encoder"]) == (old, new, new, True)
    assert back["token"] > told["token"]
    assert live_state(client, alias).index == old
    assert f"{new} is live again" in palier("rollback", "--to", new)
    text = palier("status")
    assert f"live       {new}" in text
    assert f"previous   {old}" in text


def test_a_refused_index_is_listed_with_the_reason(
    palier: Palier, client: Elasticsearch, alias: str, tmp_path: Path
) -> None:
    _, new = build_two(client, alias, tmp_path)
    palier("rollback")
    delete_indexes(client, [new])
    create_index(client, new, index_mapping("flat", 8), {"alias": alias, "settings": {"encoder_sha256": "other"}})
    add_meta(client, new, {"complete": True, "gate": {"findings": ["it is worse"], "quality": {"new": 0.5, "n": 30}}})
    text = palier("status")
    assert f"refused    {new}" in text
    assert "nDCG@10 0.500 (30 questions)" in text
    assert "it is worse" in text
    assert "restart gateways" in palier("rollback", "--to", new)


def test_an_index_is_not_built_into_a_node_of_another_state(search_url: str, alias: str, tmp_path: Path) -> None:
    """The port answers, and nothing that this state started does."""
    make_workspace(tmp_path / "mine", None, None)
    environment = {
        "ELASTICSEARCH_URL": "",
        "PALIER_SEARCH_PORT": search_url.rpartition(":")[2],
        "PALIER_STATE_DIR": str(tmp_path / "state"),
        "PALIER_INDEX_ALIAS": alias,
    }
    result = CliRunner().invoke(build_app(), ["build-index", "-w", str(tmp_path / "mine")], env=environment)
    assert isinstance(result.exception, ServiceError)
    assert search_url in str(result.exception)
    assert "ELASTICSEARCH_URL" in str(result.exception)
