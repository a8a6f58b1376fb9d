"""A probe may be sent by anybody, as often as they like."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lexical_release import load_lexical, write_bundle

from palier.domain.answering import Hit, Question
from palier.domain.fusion import SearchMode
from palier.settings import Settings
from serving.desk import SharedCall
from serving.health import _search_part as search_part


class SlowRetriever:
    """Answers when it is let go; counts its searches."""

    def __init__(self) -> None:
        self.n_searches = 0
        self.lets_go = threading.Event()

    def search(self, question: Question, k: int, mode: SearchMode | None = None) -> list[Hit]:
        self.n_searches += 1
        assert self.lets_go.wait(10)
        return []


async def asked_at_once(release: Any, retriever: SlowRetriever) -> Sequence[dict[str, Any]]:
    probe = SharedCall()
    parts = [asyncio.ensure_future(search_part(release, probe)) for _ in range(50)]
    await asyncio.sleep(0)  # all have asked before the search is let go
    retriever.lets_go.set()
    return await asyncio.gather(*parts)


def test_many_probes_at_once_are_one_search(tmp_path: Path) -> None:
    """Else a search engine that hangs, and some probes, would hold the threads that keys are looked up in."""
    retriever = SlowRetriever()
    loaded = load_lexical(write_bundle(tmp_path / "r", "r"), Settings(state_dir=tmp_path))
    parts = asyncio.run(asked_at_once(replace(loaded, retriever=retriever), retriever))  # type: ignore[arg-type]
    assert {part["ok"] for part in parts} == {True}
    assert retriever.n_searches == 1
