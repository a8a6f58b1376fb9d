"""The cross-lingual benchmark pairs documents by name only, and counts a document as found by any of its passages."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.crosslingual import Corpus, counterpart, documents_found, read_corpus, run, summary, versioned
from palier.domain.golden import GoldenQuestion
from palier.errors import InputError
from palier.params import Params, load_params
from palier.settings import repository_root

NAMES = ("policies/refunds", "menus/menu-2026", "policies/only-here")


@pytest.fixture
def params() -> Params:
    loaded = load_params(repository_root() / "params.yaml")
    limits = loaded.version_documents.model_copy(update={"min_golden_questions": 0})
    return loaded.model_copy(update={"version_documents": limits})


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Three French documents, two of them with an English one of the same name; one of these is a menu."""
    for name in NAMES:
        write(tmp_path / "documents" / "fr" / f"{name}.md", f"# {name}\n\nLe remboursement arrive en trois jours.\n")
    for name in NAMES[:2]:
        write(tmp_path / "documents" / "en" / f"{name}.md", f"# {name}\n\nThe refund takes three days to arrive.\n")
    rows = [golden(i, name) for i, name in enumerate(NAMES)]
    write(tmp_path / "golden" / "fr.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def golden(number: int, name: str, split: str = "test") -> dict[str, object]:
    return {
        "id": f"fr-{number}",
        "lang": "fr",
        "question": "En combien de temps ?",
        "answers": ["trois jours"],
        "document_id": f"fr/{name}",
        "quote": "Le remboursement arrive en trois jours.",
        "answerable": True,
        "kind": "fact",
        "split": split,
    }


def test_only_a_document_of_the_same_name_that_is_no_menu_is_a_counterpart():
    assert counterpart("fr/policies/refunds") == "en/policies/refunds"
    assert counterpart("fr/menus/menu-2026") is None
    assert counterpart("en/policies/refunds") is None


def test_questions_without_a_counterpart_are_not_asked(samples: Path, params: Params):
    with versioned(samples, params) as place:
        corpus = read_corpus(place)
    assert [row.document_id for row in corpus.asked] == ["fr/policies/refunds"]
    assert {passage.document_id for passage in corpus.passages} >= {"en/policies/refunds", "fr/policies/only-here"}


def test_samples_without_a_pair_are_refused(samples: Path, params: Params):
    (samples / "documents" / "en" / "policies" / "refunds.md").unlink()
    with versioned(samples, params) as place, pytest.raises(InputError, match="exists in English"):
        read_corpus(place)


def test_a_document_counts_once_and_only_the_first_ten_passages_count():
    scores = np.linspace(1, 0, 12, dtype=np.float32)
    assert documents_found(scores, ["a", "b"] * 5 + ["c", "d"]) == ["a", "b"]


def test_recall_and_its_gain_stand_by_split():
    rows = [
        GoldenQuestion.model_validate_json(json.dumps(golden(i, f"policies/{i}", split)))
        for i, split in enumerate(("train", "test"))
    ]
    nothing, one, both = [[], []], [["en/policies/0"], []], [["x", "en/policies/0"], ["en/policies/1"]]
    found = {
        "as_it_comes": {"english_passages": one, "both_languages": nothing},
        "encoder": {"english_passages": both, "both_languages": one},
    }
    results = summary(found, Corpus([], rows), np.random.default_rng(0))
    english = results["encoder"]["english_passages"]["recall_at_10"]
    assert [english[split]["value"] for split in ("all", "train", "validation", "test")] == [1.0, 1.0, None, 1.0]
    gain = results["differences"]["encoder-as_it_comes"]["english_passages"]["recall_at_10"]
    assert [gain[split]["value"] for split in ("all", "train", "test")] == [0.5, 0.0, 1.0]


@pytest.mark.model
def test_a_tuned_encoder_is_measured_beside_the_two_others(tmp_path: Path):
    (tmp_path / "samples").mkdir()
    for name in ("documents", "golden"):
        shutil.copytree(repository_root() / "samples" / name, tmp_path / "samples" / name)
    for lang in ("en", "fr"):  # two topics are enough to tune on, and quick
        for folder in (tmp_path / "samples" / "documents" / lang).iterdir():
            if folder.name not in ("app", "giftcards"):
                shutil.rmtree(folder)
        keep_known(tmp_path / "samples" / "golden" / f"{lang}.jsonl")
    results = run(tmp_path / "out.json", epochs=1, samples=tmp_path / "samples")["results"]
    assert results["tuning"]["n_pairs"] > 50
    for name in ("as_it_comes", "encoder", "tuned"):
        assert 0 <= results[name]["english_passages"]["recall_at_10"]["all"]["value"] <= 1
    assert set(results["differences"]) == {"encoder-as_it_comes", "tuned-as_it_comes", "tuned-encoder"}


def keep_known(path: Path) -> None:
    """Only the questions on documents that are still there."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    known = ("/app/", "/giftcards/")
    kept = [line for line in lines if any(name in json.loads(line)["document_id"] for name in known)]
    path.write_text("".join(kept), encoding="utf-8")
