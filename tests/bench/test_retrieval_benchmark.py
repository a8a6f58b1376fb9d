"""The retrieval benchmark reads rows as promised, measures on an index of its own, and leaves nothing behind."""

import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.asked_rankings import Answered, Asked, TimedEncoder, ask_all, differences, duel, losses
from bench.report import read_qa
from bench.retrieval import prepare, run, sample
from palier.adapters.search import connect
from palier.domain.answering import Question
from palier.domain.title_split import title_split
from palier.errors import InputError
from palier.params import load_params
from palier.settings import repository_root
from tests.adapters.tiny_encoder import write_tiny_encoder
from tests.adapters.tiny_reranker import write_tiny_reranker

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


def articles() -> list[dict[str, Any]]:
    """Rows on an article each; some of the titles are validation titles, none is a test title."""
    return [row(i, title=f"Article_{i}") for i in range(38)]


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


def test_only_questions_on_the_titles_asked_for_are_asked_but_all_passages_are_there(tmp_path: Path):
    rows = read_qa(write(tmp_path / "a.jsonl.gz", articles()))
    everything, _ = prepare(rows, "en")
    passages, asked = prepare(rows, "en", "validation")
    assert passages == everything
    assert {entry.row_id for entry in asked} == {item.id for item in rows if title_split(item.title) == "validation"}
    assert 0 < len(asked) < len(rows)
    with pytest.raises(InputError, match="on test titles"):
        prepare(rows, "en", "test")


def answered(*rankings: list[str]) -> Answered:
    return Answered(list(rankings), [1.0] * len(rankings), {})


def asked_for(*relevant: str) -> list[Asked]:
    return [Asked(Question(key, "en"), {key}, f"row-{key}") for key in relevant]


def test_losses_name_the_question_and_both_ranks_worst_first():
    """A question that both miss, or where ours stands higher, is no loss."""
    ours = answered(["x", "a"], ["x", "y"], ["c"], ["x"], ["x", "y", "e"])
    theirs = answered(["a"], ["b", "x"], ["x", "c"], ["y"], ["y", "e"])
    asked = asked_for("a", "b", "c", "d", "e")
    assert losses(ours, theirs, asked, ("hybrid", "bm25")) == [
        {"id": "row-b", "hybrid_rank": None, "bm25_rank": 1},
        {"id": "row-a", "hybrid_rank": 2, "bm25_rank": 1},
        {"id": "row-e", "hybrid_rank": 3, "bm25_rank": 2},
    ]
    assert duel(ours, theirs, asked) == {"wins": 1, "ties": 1, "losses": 3}


def test_a_difference_is_paired():
    """One question won and one lost cancel out, with an interval from one to the other; with itself none differs."""
    ours, theirs = answered(["a"], ["x", "x2", "b"]), answered(["x", "a"], ["b", "x"])
    gain = differences(ours, theirs, asked_for("a", "b"), np.random.default_rng(0))
    assert gain["hit_at_1"] == {"value": 0.0, "low": -1.0, "high": 1.0, "n": 2}
    steady = differences(ours, ours, asked_for("a", "b"), np.random.default_rng(0))
    assert steady["ndcg_at_10"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 2}


def test_the_time_of_each_part_is_what_it_took():
    encoder = TimedEncoder(SlowEncoder())

    def search(question: Question) -> list[str]:
        encoder.embed([question.text])
        time.sleep(0.02)
        return ["a"]

    parts = ask_all("slow", search, asked_for("a", "b"), {"encode": encoder, "rerank": TimedEncoder(SlowEncoder())})
    assert parts.parts_ms.keys() == {"encode", "search"}
    assert all(ms >= 10 for ms in parts.parts_ms["encode"])
    assert all(ms >= 20 for ms in parts.parts_ms["search"])
    assert [sum(pair) for pair in zip(*parts.parts_ms.values(), strict=True)] == pytest.approx(parts.times_ms)


class SlowEncoder:
    """Takes ten milliseconds."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(0.01)
        return np.zeros((len(texts), 2), dtype=np.float32)


@pytest.mark.service
def test_the_file_holds_the_contract_and_the_index_is_gone_afterwards(tmp_path: Path, search_url: str):
    data = write(tmp_path / "a.jsonl.gz", [row(i) for i in range(30)])
    words = [*WORDS, "what", "about"]
    encoder, reranker = write_tiny_encoder(tmp_path / "e", words), write_tiny_reranker(tmp_path / "r", words)
    out = tmp_path / "out.json"
    content = run(
        [data],
        out,
        lang="en",
        search_url=search_url,
        max_questions=20,
        seed=1,
        encoder_folder=encoder,
        reranker_folder=reranker,
    )
    assert json.loads(out.read_text(encoding="utf-8")) == content
    assert {"benchmark", "git_sha", "started_at", "machine", "data", "params", "results"} <= content.keys()
    assert content["data"][0]["rows"] == 30
    assert content["params"]["not_measured"] == {}
    results = content["results"]
    for mode in ("bm25", "dense", "hybrid", "reranked"):
        assert results[mode]["query_ms_p50"] <= results[mode]["query_ms_p95"]
        for name in ("ndcg_at_10", "mrr_at_10", "recall_at_10", "recall_at_100", "hit_at_1"):
            assert results[mode][name]["low"] <= results[mode][name]["value"] <= results[mode][name]["high"]
            assert results[mode][name]["n"] == 20
    assert results["bm25"]["hit_at_1"]["value"] == 1.0  # each word stands in one passage only
    assert results["reranked"]["hit_at_1"]["value"] == 1.0
    assert results["bm25"]["query_ms"].keys() == {"search"}
    assert results["reranked"]["query_ms"].keys() == {"encode", "search", "rerank"}
    gain = results["differences"]["hybrid-bm25"]["ndcg_at_10"]
    means = results["hybrid"]["ndcg_at_10"]["value"] - results["bm25"]["ndcg_at_10"]["value"]
    assert gain["value"] == pytest.approx(means, abs=2e-4)
    assert len(results["hybrid_loses"]) == results["hybrid_against_bm25"]["losses"]
    with connect(search_url) as client:
        assert not client.indices.get(index="bench-retrieval-*")


@pytest.mark.service
def test_other_weights_are_scanned_on_validation_titles_only(tmp_path: Path, search_url: str):
    data = write(tmp_path / "a.jsonl.gz", articles())
    words = [*WORDS, "what", "about"]
    encoder, reranker = write_tiny_encoder(tmp_path / "e", words), write_tiny_reranker(tmp_path / "r", words)
    folders = {"encoder_folder": encoder, "reranker_folder": reranker}
    chosen = run([data], tmp_path / "v.json", search_url=search_url, asked_titles="validation", **folders)["results"]
    trained = run([data], tmp_path / "t.json", search_url=search_url, asked_titles="train", **folders)["results"]
    assert "choices" not in trained
    table = chosen["choices"]["en"]
    weight = load_params(repository_root() / "params.yaml").retrieval.dense_weight["en"]
    assert table["dense_weight"][f"{weight:.2f}"] == chosen["hybrid"]["ndcg_at_10"]["value"]
    wording = load_params(repository_root() / "params.yaml").retrieval.wording_weight
    assert table["wording_weight"][f"{wording:.1f}"] == chosen["hybrid"]["ndcg_at_10"]["value"]
    assert table["rerank"]["20"]["0.0"] == chosen["hybrid"]["ndcg_at_10"]["value"]
    assert table["reader"]["5"]["0.0"] == chosen["hybrid"]["ndcg_at_10"]["value"]  # the starter reader
    with pytest.raises(InputError, match="No split 'exam'"):
        run([data], tmp_path / "x.json", search_url=search_url, asked_titles="exam", **folders)  # type: ignore[arg-type]
