"""The locks hold versions and hashes, and the gateway's environment is as small as it says."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from palier.settings import repository_root

ROOT = repository_root()
LOCKS = ("gateway", "platform", "dev")
NOT_IN_THE_GATEWAY = ("torch", "transformers", "mlflow", "apache-airflow", "dvc", "evidently", "pandas")
PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)(\[[a-z0-9,-]+\])?==\S+( ; [^\\]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
PROBE = """
import importlib.util, json, sys
from serving.app import create_app
names = json.loads(sys.argv[1])
print(json.dumps({
    "paths": sorted(create_app().openapi()["paths"]),
    "found": [name for name in names if importlib.util.find_spec(name)],
}))
"""


def lines_of(lock: str) -> list[str]:
    text = (ROOT / f"requirements/{lock}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def pinned(lock: str) -> dict[str, str]:
    """Version by package."""
    matches = [match for line in lines_of(lock) if (match := PIN.match(line))]
    return {match[1]: match[0].split("==")[1].split()[0] for match in matches}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_versions_and_hashes_only(lock: str) -> None:
    """No address, no option, and no package without a hash."""
    lines = lines_of(lock)
    assert len(pinned(lock)) > 20
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert not PIN.match(line) or HASH.match(following), line


def test_the_gateway_lock_lacks_what_trains_and_orchestrates() -> None:
    """What answers questions needs none of it; the platform's lock has all of it."""
    assert not set(NOT_IN_THE_GATEWAY) & set(pinned("gateway"))
    assert set(NOT_IN_THE_GATEWAY) <= set(pinned("platform"))


def test_the_locks_agree() -> None:
    """A bundle is measured on the platform and served by the gateway: the same versions compute both."""
    platform, dev = pinned("platform"), pinned("dev")
    differing = {name for name, version in pinned("gateway").items() if platform.get(name) != version}
    differing |= {name for name, version in platform.items() if dev.get(name) != version}
    assert differing == set()


@pytest.mark.service
def test_the_gateway_runs_from_its_own_environment(tmp_path: Path) -> None:
    """It makes its app where torch, MLflow, Airflow and DVC cannot be imported."""
    from palier.commands.services import gateway_python

    absent = ["torch", "transformers", "mlflow", "airflow", "dvc", "evidently", "pandas"]
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "PALIER_STATE_DIR": str(tmp_path),
    }
    command = [str(gateway_python()), "-c", PROBE, json.dumps(absent)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["found"] == []
    assert "/v1/chat/completions" in said["paths"]
