"""Documents come from a real git repository and a real S3 server, or stay as they were."""

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from palier.adapters.document_sources import DocumentSourceError, bring_documents
from palier.adapters.versioning import commit, head, run_git
from palier.adapters.workspace import Workspace
from palier.params import GitSource, S3Source


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path / "my workspace")
    (place.documents / "en").mkdir(parents=True)
    (place.documents / "en" / "old.md").write_text("Old.", encoding="utf-8")
    return place


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits, the first of them with a tag of its own object."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run_git(["init", "--quiet", "--initial-branch=main"], folder)
    for text, tag in (("One.", "v1"), ("Two.", "v2")):
        write(folder, "docs/en/page.md", text)
        commit(folder, text)
        run_git(["-c", "user.name=P", "-c", "user.email=p@localhost", "tag", "-a", tag, "-m", tag], folder)
    return folder


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]) -> Iterator[str]:
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="handbook")
    for key, text in (("team/en/a.md", "# A"), ("team/fr/b.md", "# B"), ("other/c.md", "# C")):
        client.put_object(Bucket="handbook", Key=key, Body=text.encode())
    yield "handbook"
    server.stop()


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def held(workspace: Workspace) -> dict[str, str]:
    files = (path for path in workspace.documents.rglob("*") if path.is_file())
    return {path.relative_to(workspace.documents).as_posix(): path.read_text() for path in files}


def test_a_tag_of_a_git_repository_replaces_the_documents_and_a_second_time_changes_nothing(workspace, repository):
    source = GitSource(git=str(repository), revision="v1", folder="docs")
    brought = bring_documents(workspace, source)
    assert (brought.n_files, brought.changed) == (1, True)
    assert brought.revision == run_git(["rev-parse", "v1^{commit}"], repository).strip() != head(repository)
    assert held(workspace) == {"en/page.md": "One."}
    inode = (workspace.documents / "en" / "page.md").stat().st_ino
    assert not bring_documents(workspace, source).changed
    assert (workspace.documents / "en" / "page.md").stat().st_ino == inode


def test_a_branch_is_not_taken_for_another_whose_name_ends_the_same(workspace, repository):
    run_git(["branch", "backup/main", "v1"], repository)
    run_git(["tag", "-a", "-m", "old", "old/main", "v1"], repository)
    brought = bring_documents(workspace, GitSource(git=str(repository), revision="main", folder="docs"))
    assert brought.revision == head(repository)
    assert held(workspace) == {"en/page.md": "Two."}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"revision": "nope"}, "no revision 'nope'"),
        ({"folder": "nothere"}, "nothere"),
        ({"git": "https://127.0.0.1:1/handbook.git"}, "127.0.0.1"),
    ],
)
def test_a_git_source_that_fails_tells_why_and_leaves_the_documents(workspace, repository, changes, reason):
    source = GitSource(**({"git": str(repository), "folder": "docs"} | changes))
    with pytest.raises(DocumentSourceError, match=reason):
        bring_documents(workspace, source)
    assert held(workspace) == {"en/old.md": "Old."}
    assert not (workspace.cache / "documents-incoming").exists()


def test_the_objects_under_a_prefix_of_a_bucket_replace_the_documents(workspace, bucket):
    brought = bring_documents(workspace, S3Source(s3=f"s3://{bucket}/team"))
    assert (brought.n_files, brought.changed) == (2, True)
    assert held(workspace) == {"en/a.md": "# A", "fr/b.md": "# B"}


@pytest.mark.parametrize("place", ["handbook/nothing", "nobucket/team"])
def test_a_bucket_or_prefix_that_is_not_there_leaves_the_documents(workspace, bucket, place):
    with pytest.raises(DocumentSourceError, match=r"does not exist.*version_documents\.source"):
        bring_documents(workspace, S3Source(s3=f"s3://{place}"))
    assert held(workspace) == {"en/old.md": "Old."}


def test_a_dead_endpoint_is_told_at_once(workspace, monkeypatch, free_port):
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(DocumentSourceError, match=f"127.0.0.1:{port} does not answer"):
        bring_documents(workspace, S3Source(s3="s3://handbook"))
    assert held(workspace) == {"en/old.md": "Old."}


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [("http://key:hidden@localhost:99999", "endpoint localhost:99999 does"), ("localhost:1", "endpoint localhost:1 ")],
)
def test_an_endpoint_that_is_none_is_told_without_its_secrets(workspace, monkeypatch, endpoint, told):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(DocumentSourceError, match=told):
        bring_documents(workspace, S3Source(s3="s3://handbook"))


def test_documents_that_a_kill_left_in_the_cache_come_back(workspace, monkeypatch, free_port):
    """Killed between the two renames, and then the source is away."""
    workspace.cache.mkdir()
    workspace.documents.rename(workspace.cache / "documents-before")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(DocumentSourceError):
        bring_documents(workspace, S3Source(s3="s3://handbook"))
    assert held(workspace) == {"en/old.md": "Old."}
