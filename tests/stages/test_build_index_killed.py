"""A build that is killed, at whichever moment, leaves a complete index live, and the next run needs no hand."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from palier.adapters.index_fence import FENCE, live_state
from palier.adapters.search_index import indexes_of
from palier.commands.context import utc_now
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import build_index, version_documents
from tests.adapters.tiny_encoder import write_tiny_encoder

KILLS = 20
MAX_ATTEMPTS = 60
N_DOCUMENTS = 30
CHILD = """
import sys
from pathlib import Path
from palier.adapters.search import connect
from palier.commands.context import utc_now
from palier.params import load_params
from palier.settings import repository_root
from palier.stages import build_index
params = load_params(repository_root() / "params.yaml")
client = connect(sys.argv[1])
print("begins", flush=True)
build_index.run(params, Path(sys.argv[2]), client, sys.argv[3], clock=utc_now)
print("ends", flush=True)
"""

pytestmark = [pytest.mark.soak, pytest.mark.service]


@pytest.fixture
def params() -> Params:
    loaded = load_params(repository_root() / "params.yaml")
    limits = loaded.version_documents.model_copy(update={"min_golden_questions": 0})
    return loaded.model_copy(update={"version_documents": limits})


def edit(workspace: Path, params: Params, version: int) -> None:
    """A new version of every third document, so that each build has an index of its own to fill."""
    folder = workspace / "documents" / "en"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(N_DOCUMENTS):
        path = folder / f"page-{i}.md"
        if version == 0 or i % 3 == version % 3:
            path.write_text(f"# Page {i}\n\nThis is page {i} as of version {version}.\n", encoding="utf-8")
    version_documents.run(params, workspace)


def start_build(search_url: str, workspace: Path, alias: str) -> "subprocess.Popen[str]":
    """A real build in a process of its own, which has read its modules and begins now."""
    command = [sys.executable, "-c", CHILD, search_url, str(workspace), alias]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repository_root())
    assert child.stdout is not None
    assert child.stdout.readline() == "begins\n"
    return child


def check_live(client: Elasticsearch, alias: str) -> None:
    """One complete index is live, and holds as many passages as it says."""
    live = live_state(client, alias)
    assert len(live.indexes) == 1
    meta = indexes_of(client, alias)[live.indexes[0]]
    assert meta["complete"]
    assert client.count(index=alias)["count"] == meta["n_passages"] == N_DOCUMENTS


def check_nothing_is_left(client: Elasticsearch, alias: str) -> None:
    """Every index of the alias is complete, no more are kept than should be, and no mark of a build remains."""
    metas = indexes_of(client, alias)
    assert all(meta["complete"] for meta in metas.values())
    assert len(metas) <= 3  # the two that are kept, and a complete one that never became live
    client.indices.refresh(index=FENCE)
    assert client.count(index=FENCE, query={"term": {"alias": alias}})["count"] == 0


def test_a_build_killed_at_20_random_points_never_harms_what_is_live(
    search_url: str, client: Elasticsearch, alias: str, params: Params, tmp_path: Path
) -> None:
    # It must tell one page from another, or the gate would rightly refuse an index of vectors that are all the same.
    words = ["this", "is", "page", "as", "of", "version", *map(str, range(MAX_ATTEMPTS))]
    write_tiny_encoder(tmp_path / "models" / "encoder", words)
    edit(tmp_path, params, 0)
    started = time.monotonic()
    child = start_build(search_url, tmp_path, alias)
    begun = time.monotonic()
    assert child.wait() == 0
    seconds, chance, n_killed, tokens = time.monotonic() - begun, random.Random(7), 0, [live_state(client, alias).token]
    for attempt in range(1, MAX_ATTEMPTS):
        edit(tmp_path, params, attempt)
        child = start_build(search_url, tmp_path, alias)
        time.sleep(chance.uniform(0, seconds))
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            n_killed += 1
        child.wait()
        check_live(client, alias)
        made = build_index.run(params, tmp_path, client, alias, clock=utc_now)
        check_live(client, alias)
        check_nothing_is_left(client, alias)
        assert live_state(client, alias).index == made.index
        tokens.append(live_state(client, alias).token)
        if n_killed == KILLS:
            break
    assert n_killed == KILLS, f"only {n_killed} of {attempt} builds were still at work when they were to be killed"
    assert tokens == sorted(set(tokens))
    print(f"{n_killed} kills in {time.monotonic() - started:.0f} s")  # noqa: T201 (seen with -s)
