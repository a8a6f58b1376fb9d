"""The swap benchmark counts what it says it counts, and leaves nothing behind."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from bench.swap import Asked, Load, Version, builds, make_questions, run, summary
from palier.adapters.index_fence import FENCE
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever, connect
from palier.domain.answering import Hit, Question
from palier.domain.documents import Passage
from palier.errors import InputError
from palier.params import load_params
from palier.settings import repository_root
from palier.stages.build_index import IndexBuild
from tests.adapters.tiny_encoder import write_tiny_encoder

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def passage(i: int, line: int = 1) -> Passage:
    return Passage(f"en/{i}#x", f"en/{i}", "en", f"Page {i}", "", " ".join(WORDS) + f" {i}", line, line + 2)


def version(index: str, passages: list[Passage], n_embedded: int = 0) -> Version:
    build = IndexBuild(index, "r", len(passages), True, n_embedded, 0, 1)
    answers = [[Hit(item, 1.0, 2.0, 0.5, index)] for item in passages]
    return Version(build, {item.passage_id: item for item in passages}, answers)


def load_of(asked: list[Asked], folder: Path) -> Load:
    """A load of two questions that is over; asking them again would need a server."""
    params = load_params(repository_root() / "params.yaml").retrieval.model_copy(update={"rerank": {}})
    encoder = OnnxEncoder(write_tiny_encoder(folder / "encoder", WORDS))
    retriever = HybridRetriever(connect("http://127.0.0.1:9"), "nowhere", encoder, params)
    return Load(retriever, [Question("one", "en"), Question("two", "en")], per_s=2.0, asked=asked, seconds=2.0)


def test_each_kind_of_bad_answer_is_counted_as_what_it_is(tmp_path: Path) -> None:
    """An error, an empty answer, a passage of the other version under this one's name, and one of both indexes."""
    old, new = version("a", [passage(0), passage(1)]), version("b", [passage(0, line=9), passage(1)])
    good = Hit(passage(0), 1.0, index="a")
    asked = [
        Asked(0, 0.0, 0.0, 0.1, [good]),
        Asked(0, 0.5, 0.6, 0.7, [], "away"),
        Asked(0, 1.0, 1.0, 1.1, []),
        Asked(0, 1.5, 1.5, 1.6, [Hit(passage(0), 1.0, index="b")]),  # its lines are those of version a
        Asked(1, 1.6, 1.6, 1.7, [replace(good, passage=passage(1)), Hit(passage(1), 1.0, index="b")]),
        Asked(1, 1.7, 1.7, 2.7, [good]),
    ]
    told = summary(load_of(asked, tmp_path), [old, new])
    counted = {key: told[key] for key in ("queries", "failed", "errors", "empty", "mixed_version")}
    assert counted == {"queries": 6, "failed": 2, "errors": 1, "empty": 1, "mixed_version": 2}
    assert told["first_hit_of_no_version"] == 1  # the last: asked for page 1, given page 0
    assert told["rate_held"]
    assert told["latency_ms_p50"] == pytest.approx(100, abs=1)


def test_incremental_and_full_are_compared_by_passages_and_scores() -> None:
    old, new = version("a", [passage(0)]), version("b", [passage(0), passage(1)], n_embedded=2)
    assert builds(old, new, new)["incremental_equals_full"]
    assert builds(old, new, new)["unchanged_reembedded"] == 1
    other = replace(new, answers=[[replace(hits[0], score=hits[0].score + 1e-4)] for hits in new.answers])
    told = builds(old, new, other)
    assert not told["incremental_equals_full"]
    assert told["incremental_differs"] == {"questions": 2, "different": 2}


def test_questions_are_distinct_and_the_same_for_the_same_seed() -> None:
    both = [[passage(i) for i in range(40)], [passage(i) for i in range(20, 60)]]
    questions = make_questions(both, 3)
    assert len({question.text for question in questions}) == len(questions) > 40
    assert questions == make_questions(both, 3)
    assert questions != make_questions(both, 4)


def test_anything_but_two_tarballs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Name two versions"):
        run([tmp_path / "a"], tmp_path / "out.json", search_url="http://127.0.0.1:9")


def pack(path: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        file = path.parent / path.stem / "en" / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {name}\n\n{text}\n", encoding="utf-8")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(path.parent / path.stem / "en", "en")
    return path


@pytest.mark.service
def test_the_file_holds_the_contract_and_no_question_fails(tmp_path: Path, search_url: str) -> None:
    texts = {f"page{i}": f"{' '.join(WORDS[i % 5 :])} number {i}" for i in range(12)}
    old = pack(tmp_path / "old.tgz", texts)
    new = pack(tmp_path / "new.tgz", texts | {"page3": "alpha alone and some more words are here now"})
    encoder = write_tiny_encoder(tmp_path / "encoder", WORDS)
    out = tmp_path / "out.json"
    content = run([old, new], out, search_url=search_url, swaps=4, queries_per_s=10.0, encoder_folder=encoder)
    assert json.loads(out.read_text(encoding="utf-8")) == content
    assert [item["path"] for item in content["data"]] == ["old.tgz", "new.tgz"]
    results = content["results"]
    assert results["swaps"] == 4
    assert results["queries"] > 4
    assert (results["failed"], results["mixed_version"], results["unchanged_reembedded"]) == (0, 0, 0)
    assert results["incremental_equals_full"]
    assert results["embedded"] == {"incremental": 1, "full": 12}
    assert results["delete_and_rebuild"]["rebuilds"] == 1
    with connect(search_url, timeout_s=60) as client:
        assert not client.indices.get(index="bench-swap-*")
        metas = client.indices.get_mapping(index="passages-*").values()
        assert not any("bench-swap" in part["mappings"].get("_meta", {}).get("alias", "") for part in metas)
        client.indices.refresh(index=FENCE)
        assert not client.count(index=FENCE, query={"prefix": {"alias": "bench-swap"}})["count"]
