"""What tests share: bounds on threads and networks, real services on free ports, and a small workspace.

The services are the ones that `palier services up` starts, under the same supervisor, with state and data in folders
of the test run; a service that does not start is an error of each test that asked for it, never a skip. The price:
the first run on a machine builds the search node (a minute).
"""

import json
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before numpy, torch or onnxruntime start their pools, and before anything asks a hub or a collector.
_THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"  # two workers, two cores
for _name, _value in {
    "OMP_NUM_THREADS": _THREADS,
    "OPENBLAS_NUM_THREADS": _THREADS,
    "MKL_NUM_THREADS": _THREADS,
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(_name, _value)
os.environ.update(
    HF_HUB_OFFLINE="1",
    DO_NOT_TRACK="true",
    SCARF_ANALYTICS="false",
    MLFLOW_DISABLE_TELEMETRY="true",
    DVC_NO_ANALYTICS="1",
)
# What a person has set for their own Palier is not for tests; ELASTICSEARCH_URL stays: it chooses what to test on.
for _name in [name for name in os.environ if name.startswith("PALIER_") or name == "MLFLOW_TRACKING_URI"]:
    del os.environ[_name]

import pytest  # noqa: E402 (the environment comes first)
from hypothesis import settings  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402

from palier.adapters.services import ServiceSpec, Supervisor, mlflow_spec, search_spec  # noqa: E402
from palier.settings import repository_root  # noqa: E402

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

# A person's run looks for new counter-examples; CI must say the same of the same commit.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

ROOT = repository_root()
DOCUMENTS_PER_SPLIT = 4
ROWS_PER_DOCUMENT = 8
SMALL: dict[str, dict[str, Any]] = {
    "train_reader": {"epochs": 1},
    "train_writer": {"starter": None},
    "record_outcomes": {"probation_questions": 10},
    "evaluate_release": {"bootstrap_samples": 200, "min_f1": 0.0},
    "evaluate_models": {"bootstrap_samples": 100, "noise_questions": 4, "min_slice_rows": 4},
}
"""Params of the small workspace that differ from `params.yaml`: time is saved, and no quality is asked for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: begun last, it would leave the other worker with nothing to do."""
    items.sort(key=lambda item: item.path.name != "test_loop.py")


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """State that has no folder of its own goes to the test run's, not to that of the person who runs it."""
    state = tmp_path_factory.mktemp("state")
    os.environ["PALIER_STATE_DIR"] = str(state)
    os.environ["AIRFLOW_HOME"] = str(state / "airflow")


@pytest.fixture(scope="session")
def search_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Elasticsearch: the one that ELASTICSEARCH_URL names, or the embedded node for this test run."""
    if given := os.environ.get("ELASTICSEARCH_URL"):
        yield given.rstrip("/")
        return
    folder = tmp_path_factory.mktemp("search")
    spec = search_spec(ROOT / "search_node", folder / "node", find_free_port(), dict(os.environ), heap_mb=384)
    yield from _run_service(spec, folder)


@pytest.fixture(scope="session")
def client(search_url: str) -> "Iterator[Elasticsearch]":
    """A client of that Elasticsearch, as patient as a build."""
    from palier.adapters.search import connect

    with connect(search_url, timeout_s=60) as client:
        yield client


@pytest.fixture
def alias(client: "Elasticsearch") -> Iterator[str]:
    """A name of this test's own; every index built for it, and its counter, is deleted afterwards."""
    from palier.adapters.index_fence import forget_alias
    from palier.adapters.search_index import delete_indexes, indexes_of

    name = f"test-{secrets.token_hex(4)}"
    yield name
    delete_indexes(client, list(indexes_of(client, name)))
    forget_alias(client, name)


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server over a fresh SQLite file, migrated."""
    folder = tmp_path_factory.mktemp("mlflow")
    spec = mlflow_spec(Path(sys.executable).parent, folder, find_free_port(), dict(os.environ))
    yield from _run_service(spec, folder)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, each file checked against the catalogue."""
    from palier.adapters.catalogue import resolve

    return resolve("all-minilm-l6-v2")


@pytest.fixture(scope="session")
def samples() -> Path:
    """The sample documents and golden questions of the repository."""
    return ROOT / "samples"


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Ports of loopback on which nothing listens."""
    return find_free_port


@pytest.fixture(scope="session")
def small_workspace(samples: Path) -> Callable[..., Path]:
    """Makes workspaces that a test can train on in seconds: call it with a folder, and with params to change.

    A workspace (git and DVC) holds 12 documents of each language, four of each split, those with the most golden
    questions, and up to 8 questions of each. ``changes`` are laid over single sections of `params.yaml`.
    """

    def make(folder: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
        from palier.commands.workspaces import make_workspace

        source = folder.parent / f"{folder.name}-source"
        for lang in ("en", "fr"):
            _copy_part(samples, source, lang)
        make_workspace(folder, source / "documents", source / "golden")
        _change_params(folder / "params.yaml", changes or {})
        return folder

    return make


def find_free_port() -> int:
    """A port of loopback on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run_service(spec: ServiceSpec, folder: Path) -> Iterator[str]:
    supervisor = Supervisor(folder / "services")
    try:
        yield supervisor.up(spec).url
    finally:
        supervisor.down(spec.name)


def _copy_part(samples: Path, target: Path, lang: str) -> None:
    """The chosen documents of a language and the golden rows that belong to them."""
    lines = (samples / "golden" / f"{lang}.jsonl").read_text(encoding="utf-8").splitlines()
    by_document: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in map(json.loads, filter(None, lines)):
        by_document.setdefault((row["split"], row["document_id"]), []).append(row)
    chosen: list[dict[str, Any]] = []
    for split in ("train", "validation", "test"):
        rows_of = {document: rows for (name, document), rows in by_document.items() if name == split}
        for document in sorted(rows_of, key=lambda key: (-len(rows_of[key]), key))[:DOCUMENTS_PER_SPLIT]:
            path = target / "documents" / f"{document}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((samples / "documents" / f"{document}.md").read_bytes())
            chosen += sorted(rows_of[document], key=lambda row: (row["answerable"], row["id"]))[:ROWS_PER_DOCUMENT]
    (target / "golden").mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
    (target / "golden" / f"{lang}.jsonl").write_text(text, encoding="utf-8")


def _change_params(path: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Rewrite `params.yaml`: the small values, no writer, the starter only where it is there, then ``changes``."""
    from palier.adapters.catalogue import load_catalogue

    yaml = YAML()
    params = yaml.load(path.read_text(encoding="utf-8"))
    starter = params["train_reader"]["starter"]
    if starter not in load_catalogue() or not (ROOT / "models" / starter).is_dir():
        params["train_reader"]["starter"] = None
    rungs = params["ladder"]["rungs"]
    for name in [name for name, rung in rungs.items() if rung["kind"] == "writer"]:
        del rungs[name]
    for part in (SMALL, changes):
        for section, values in part.items():
            params[section].update(values)
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)
