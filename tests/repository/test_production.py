"""The production shape as far as files tell: what is installed is locked, and each part gets the keys that it needs."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from palier.settings import repository_root
from tests.repository.test_locks import HASH, PIN, lines_of, pinned

DOCKER = repository_root() / "docker"
BUCKET = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"}


def test_the_production_lock_holds_hashes_and_the_platforms_versions() -> None:
    """What the loop is tested with, and the drivers beside it."""
    lines, production = lines_of("production"), pinned("production")
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert not PIN.match(line) or HASH.match(following), line
    assert pinned("platform").items() <= production.items()
    named = (repository_root() / "requirements" / "production.in").read_text(encoding="utf-8").splitlines()
    assert {tuple(line.split("==")) for line in named if not line.startswith("#")} <= set(production.items())


@pytest.mark.parametrize("image", ["gateway", "platform"])
def test_an_image_installs_nothing_without_a_hash(image: str) -> None:
    text = (DOCKER / f"{image}.Dockerfile").read_text(encoding="utf-8")
    installs = [line for line in text.splitlines() if "pip install" in line and "--editable" not in line]
    assert installs
    assert [line for line in installs if "--require-hashes" not in line] == []


def test_keys_of_a_bucket_reach_the_worker_alone_and_only_where_they_are_set() -> None:
    """It alone fetches documents. No value: Compose passes on what is set, and an empty region would not be none."""
    services: dict[str, Any] = YAML(typ="safe").load(DOCKER / "compose.yaml")["services"]
    given = {name: dict(service.get("environment") or {}) for name, service in services.items()}
    assert {name for name, values in given.items() if BUCKET & set(values)} == {"airflow-worker"}
    assert {name: given["airflow-worker"][name] for name in BUCKET} == dict.fromkeys(BUCKET)
