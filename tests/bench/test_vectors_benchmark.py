"""The vector benchmark builds one index per way of keeping vectors, compares with exact search, and cleans up."""

import gzip
import json
from pathlib import Path

import pytest

from bench.vectors import OPTIONS, run
from palier.adapters.search import connect
from tests.adapters.tiny_encoder import write_tiny_encoder

WORDS = [f"word{i}" for i in range(400)]

pytestmark = pytest.mark.service


def test_every_way_is_built_or_told_as_refused_and_flat_is_exact(tmp_path: Path, search_url: str):
    rows = [
        {
            "id": f"q{i}",
            "lang": "en",
            "title": f"Article {i // 4}",
            "passage_id": f"p{i}",
            "context": " ".join(WORDS[10 * i : 10 * i + 10]),
            "question": f"{WORDS[10 * i]} {WORDS[10 * i + 1]} {WORDS[10 * i + 2]}",
            "answers": ["it"],
            "answerable": True,
        }
        for i in range(40)
    ]
    data = tmp_path / "rows.jsonl.gz"
    data.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    encoder = write_tiny_encoder(tmp_path / "encoder", WORDS)
    out = tmp_path / "out.json"
    content = run([data], out, lang="en", search_url=search_url, max_questions=25, seed=1, encoder_folder=encoder)
    assert json.loads(out.read_text(encoding="utf-8")) == content
    results = content["results"]
    assert (results["n_passages"], results["n_questions"]) == (40, 25)
    assert {*results["options"], *results["refused"]} == set(OPTIONS)
    assert {"flat", "hnsw", "int8_hnsw", "bbq_hnsw"} <= set(results["options"])
    for measured in results["options"].values():
        assert measured["query_ms_p50"] <= measured["query_ms_p95"]
        assert measured["bytes_on_disk"] > 40 * 384
        assert measured["recall_at_10"]["n"] == 25
    flat = results["options"]["flat"]
    assert flat["recall_at_10"]["value"] == 1.0
    assert flat["ndcg_at_10"] == results["exact"]["ndcg_at_10"]
    with connect(search_url) as client:
        assert not client.indices.get(index="bench-vectors-*")
