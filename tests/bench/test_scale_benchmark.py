"""The scale benchmark counts distinct text only, stops where told and says why, and leaves nothing behind."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import scale
from bench.scale import run
from bench.scale_speed import node_process, on_one_core, ratio_interval
from bench.scale_texts import MIN_WORDS, TextStream
from palier.adapters.search import connect
from palier.errors import InputError
from tests.adapters.tiny_encoder import write_tiny_encoder
from tests.adapters.tiny_reranker import write_tiny_reranker

WORDS = [f"word{i}" for i in range(500)]


def prose(start: int, n: int = 30) -> str:
    return " ".join(WORDS[(start + 7 * i) % len(WORDS)] for i in range(n)) + "."


def write_folder(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text(f"# A\n\n{prose(1)}\n", encoding="utf-8")
    (folder / "deep" / "b.html").write_text(f"<title>B</title><p>{prose(2)}</p><script>x</script>", encoding="utf-8")
    (folder / "deep" / "changelog.gz").write_bytes(gzip.compress(prose(3).encode()))
    (folder / "same.txt").write_text(prose(1).upper().replace(" ", "\n "), encoding="utf-8")
    (folder / "short.txt").write_text("Too short to count.", encoding="utf-8")
    (folder / "broken.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


def write_table(path: Path, n: int) -> Path:
    rows = {"query_id": list(range(n)), "answer": [prose(10 + i % (n - 1)) for i in range(n)]}
    pq.write_table(pa.table(rows), path)
    return path


def qa_rows(n: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"q{i}",
            "lang": "en",
            "title": "T",
            "passage_id": f"p{i // 2}",
            "context": prose(100 + i // 2),
            "question": f"What about {WORDS[i]}?",
            "answers": ["it"],
            "answerable": True,
        }
        for i in range(n)
    ]


def test_same_words_count_once_and_what_is_left_out_is_counted(tmp_path: Path):
    stream = TextStream([write_folder(tmp_path / "docs"), write_table(tmp_path / "o.parquet", 12)], 80)
    found = list(stream.passages())
    assert len({passage.passage_id for passage in found}) == len(found) == 3 + 11
    assert all(len(passage.text.split()) >= MIN_WORDS for passage in found)
    folder, table = stream.told()
    assert folder == {
        "path": "docs",
        "texts": 5,
        "unreadable": 1,
        "passages": 5,
        "short": 1,
        "repeated": 1,
        "distinct": 3,
    }
    assert (table["texts"], table["repeated"], table["distinct"]) == (12, 1, 11)


def test_questions_and_archives_are_read_too(tmp_path: Path):
    questions = tmp_path / "qa.jsonl.gz"
    questions.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in qa_rows(6)).encode()))
    archive = tmp_path / "docs.tar.gz"
    with tarfile.open(archive, "w:gz") as out:
        entry, text = tarfile.TarInfo("en/a.md"), prose(50).encode()
        entry.size = len(text)
        out.addfile(entry, io.BytesIO(text))
    stream = TextStream([questions, archive], 80)
    assert len(list(stream.passages())) == 3 + 1
    assert [question.text for question in stream.questions] == [row["question"] for row in qa_rows(6)]


def test_another_kind_of_file_is_refused_before_anything_is_read(tmp_path: Path):
    picture = tmp_path / "a.png"
    picture.touch()
    with pytest.raises(InputError, match=r"a\.png is no source of text"):
        next(TextStream([write_folder(tmp_path / "docs"), picture], 80).passages())


def test_the_ratio_of_times_is_that_of_their_sums():
    theirs, ours = np.array([4.0, 2.0, 6.0, 4.0]), np.array([1.0, 1.0, 2.0, 1.0])
    found = ratio_interval(theirs, ours, np.random.default_rng(0))
    assert found["value"] == 3.2
    assert 2.0 <= float(found["low"] or 0) <= 3.2 <= float(found["high"] or 0) <= 4.0


def test_on_one_core_binds_every_thread_and_gives_back_what_was():
    before = os.sched_getaffinity(0)
    with on_one_core({"me": psutil.Process()}) as told:
        bound = [os.sched_getaffinity(thread.id) for thread in psutil.Process().threads()]
        assert bound == [{told["core"]}] * len(bound)
    assert os.sched_getaffinity(0) == before


def test_steps_grow_threefold_up_to_what_is_wanted():
    assert list(scale._targets(250)) == [250]
    assert list(scale._targets(10_000)) == [1000, 3000, 10_000]
    assert list(scale._targets(40_000)) == [1000, 3000, 10_000, 30_000, 40_000]


@pytest.fixture
def encoder_folder(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path / "encoder", WORDS)


@pytest.mark.service
@pytest.mark.parametrize(
    ("limits", "n_passages", "stopped_by"),
    [
        ({"max_passages": 40}, 40, "max_passages"),
        ({}, 59, "end of the data"),
        ({"minutes": 1e-9}, 59, "minutes"),  # time is looked at after each round of 2,000
    ],
)
def test_it_stops_where_told_and_says_why(
    tmp_path: Path,
    search_url: str,
    encoder_folder: Path,
    limits: dict[str, Any],
    n_passages: int,
    stopped_by: str,
):
    out = tmp_path / "out.json"
    data = write_table(tmp_path / "o.parquet", 60)
    models = {"encoder_folder": encoder_folder, "reranker_folder": write_tiny_reranker(tmp_path / "reranker", WORDS)}
    content = run([data], out, search_url=search_url, latency=True, merge=True, **models, **limits)
    assert json.loads(out.read_text(encoding="utf-8")) == content
    assert str(tmp_path) not in out.read_text(encoding="utf-8")
    results = content["results"]
    assert results["reached"]["n_passages"] == n_passages
    assert results["reached"]["stopped_by"] in (stopped_by, "end of the data")
    (step,) = results["steps"]
    assert step["n_passages"] == n_passages
    assert step["index_passages_per_s"] > 0
    assert step["bytes_per_passage"] == round(step["index_bytes"] / n_passages)
    for mode in ("bm25", "dense", "hybrid"):
        assert 0 < step["query"][mode]["ms_p50"] <= step["query"][mode]["ms_p95"]
    assert results["latency"]["reranked"]["n_read"] == 20
    assert results["latency"]["reranked"]["cpu_ms_p95"] > 0
    assert results["latency"]["encode"]["ms_p95"] < results["latency"]["hybrid"]["ms_p95"]
    assert results["merged"]["segments"] == 1
    assert results["bulk_embedding"] is None  # no text has 175 tokens
    if node_process(search_url):
        assert step["node_rss_mb"] > 100
        assert results["latency"]["bound"] == ["benchmark", "node"]
    with connect(search_url, timeout_s=60) as client:
        assert not client.indices.get(index="bench-scale-*")
