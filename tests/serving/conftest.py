"""Gateways for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from running_gateway import Running, run_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway whose founding release has two rungs; shared by the tests of a module."""
    with run_gateway(tmp_path_factory.mktemp("gateway")) as running:
        running.start_release("r-founding")
        running.wait_ready("r-founding")
        yield running


@pytest.fixture
def empty_gateway(tmp_path: Path) -> Iterator[Running]:
    """A gateway of this test's own, without a release."""
    with run_gateway(tmp_path) as running:
        yield running
