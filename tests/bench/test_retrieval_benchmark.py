"""The retrieval benchmark reads rows as promised, measures on an index of its own, and leaves nothing behind."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.report import read_qa
from bench.retrieval import prepare, run, sample
from palier.adapters.search import connect
from palier.errors import InputError
from tests.adapters.tiny_encoder import write_tiny_encoder

WORDS = [f"word{i}" for i in range(200)]


def row(i: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"q{i}",
        "lang": "en",
        "title": f"Article_{i // 4}",
        "passage_id": f"p{i // 2}",
        "context": " ".join(WORDS[10 * (i // 2) : 10 * (i // 2) + 10]),
        "question": f"What about {WORDS[10 * (i // 2) + i % 2]}?",
        "answers": ["it"],
        "answerable": True,
    } | changes


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(gzip.compress("".join(json.dumps(item) + "\n" for item in rows).encode()))
    return path


def test_passages_are_counted_once_and_only_answerable_questions_are_asked(tmp_path: Path):
    rows = [row(i) for i in range(8)]
    rows += [row(8, answerable=False, answers=[]), row(10, question=""), row(12, answers=[]), row(14, lang="fr")]
    passages, asked = prepare(read_qa(write(tmp_path / "a.jsonl.gz", rows)), "en")
    assert len(passages) == 7
    assert [entry.question.text for entry in asked][-1] == row(12)["question"]
    assert len(asked) == 9
    assert passages[0].title == "Article 0"


def test_an_id_with_several_passages_has_several_right_ones(tmp_path: Path):
    rows = [row(0), row(0, context="another text", passage_id="p9")]
    _, (only,) = prepare(read_qa(write(tmp_path / "a.jsonl.gz", rows)), None)
    assert len(only.relevant) == 2


def test_what_is_no_row_is_told_with_its_line_and_no_usable_row_is_an_error(tmp_path: Path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps(row(0)) + '\n{"id": 1}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        read_qa(broken)
    english = read_qa(write(tmp_path / "a.jsonl.gz", [row(0)]))
    with pytest.raises(InputError, match="language fr"):
        prepare(english, "fr")
    with pytest.raises(InputError, match="answerable"):
        prepare(read_qa(write(tmp_path / "b.jsonl.gz", [row(0, question="")])), "en")


def test_a_sample_is_drawn_without_repeats_and_the_same_for_the_same_seed(tmp_path: Path):
    _, asked = prepare(read_qa(write(tmp_path / "a.jsonl.gz", [row(i) for i in range(30)])), "en")
    drawn = sample(asked, 10, np.random.default_rng(3))
    assert len({entry.question.text for entry in drawn}) == 10
    assert drawn == sample(asked, 10, np.random.default_rng(3))
    assert sample(asked, 99, np.random.default_rng(3)) == asked


@pytest.mark.service
def test_the_file_holds_the_contract_and_the_index_is_gone_afterwards(tmp_path: Path, search_url: str):
    data = write(tmp_path / "a.jsonl.gz", [row(i) for i in range(30)])
    encoder = write_tiny_encoder(tmp_path / "encoder", [*WORDS, "what", "about"])
    out = tmp_path / "out.json"
    content = run([data], out, lang="en", search_url=search_url, max_questions=20, seed=1, encoder_folder=encoder)
    assert json.loads(out.read_text(encoding="utf-8")) == content
    assert {"benchmark", "git_sha", "started_at", "machine", "data", "params", "results"} <= content.keys()
    assert content["data"][0]["rows"] == 30
    assert set(content["results"]) == {"bm25", "dense", "hybrid"}
    for mode in content["results"].values():
        assert mode["query_ms_p50"] <= mode["query_ms_p95"]
        for name in ("ndcg_at_10", "mrr_at_10", "recall_at_10", "recall_at_100", "hit_at_1"):
            assert mode[name]["low"] <= mode[name]["value"] <= mode[name]["high"]
            assert mode[name]["n"] == 20
    assert content["results"]["bm25"]["hit_at_1"]["value"] == 1.0  # each word stands in one passage only
    with connect(search_url) as client:
        assert not client.indices.get(index="bench-retrieval-*")
