"""A release carries the reranker exactly where its retrieval reranks, the verifier where there is one, and what was
packaged can be loaded."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from palier.adapters.bundle_store import install_bundle
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.runtime import load_release, read_manifest, verify_bundle
from palier.adapters.workspace import Workspace, write_json, write_text
from palier.domain.answering import Question
from palier.domain.guarding import LANGUAGES, N_PLAIN, TOPIC, GuardWeights
from palier.domain.scoring import ALL_FEATURES, ScorerWeights
from palier.domain.suspicious_words import LEXICAL
from palier.errors import IntegrityError, NotReadyError
from palier.params import GuardParams, LadderParams, Params, load_params
from palier.settings import Settings, repository_root
from palier.stages import package_release
from tests.adapters.tiny_encoder import write_tiny_encoder
from tests.adapters.tiny_reranker import write_tiny_reranker

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNG: dict[str, Any] = {
    "kind": "heavy",
    "provider": "openai",
    "model": "a-model",
    "passages": 2,
    "max_new_tokens": 20,
    "price": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0, "date": "2026-01-01"},
}

READER: dict[str, Any] = {"kind": "reader", "passages": 2}

WRITER: dict[str, Any] = {
    "kind": "writer",
    "model": "smollm2-135m-instruct",
    "passages": 2,
    "max_prompt_words": 60,
    "max_new_tokens": 8,
}


def params_of(rungs: dict[str, Any] | None = None, **rerank: int) -> Params:
    """The repository's params with one heavy rung (or ``rungs``) and a guard, and with reranking as told."""
    loaded = load_params(repository_root() / "params.yaml")
    ladder = LadderParams.model_validate({"cpu_usd_per_hour": 0.04, "rungs": rungs or {"heavy": RUNG}}, strict=False)
    retrieval = loaded.retrieval.model_copy(update={"rerank": rerank})
    guard = GuardParams(enabled=True, off_topic=True, max_refused=0.01)
    return loaded.model_copy(update={"ladder": ladder, "retrieval": retrieval, "guard": guard})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """What the stages before leave: small models, a cascade of one rung, an evaluation."""
    place = Workspace(tmp_path / "workspace")
    write_tiny_encoder(place.encoder, ["price"])
    for name in package_release.SERVED["reader"]:
        write_text(place.reader / name, "never read: no rung is a reader")
    weights = ScorerWeights.model_validate({"features": ALL_FEATURES, "answered": {}, "abstained": {}})
    write_text(place.scorer / "scorer.json", weights.model_dump_json())
    write_text(place.guard / "guard.json", small_guard_of(place.encoder).model_dump_json())
    write_json(place.index_file, {"index": "passages-000000000000-0"})
    write_json(place.corpus / "manifest.json", {"revision": "0" * 64})
    write_text(place.corpus / "golden.jsonl", "")
    write_json(place.outcomes / "rungs.json", {"admitted": ["heavy"]})
    write_json(place.evaluation / "metrics.json", {"f1": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}})
    chosen = {
        "cascade": {"steps": [{"rung": "heavy", "threshold": 0.0}]},
        "reference_rung": "heavy",
        "reference_cost_nanousd": 1,
        "guarantee": {},
    }
    write_json(place.cascade / "cascade.json", chosen)
    return place.root


def small_guard_of(encoder: Path) -> GuardWeights:
    """A guard that refuses nothing, for vectors of the encoder in that folder."""
    nothing = (0.0,) * (N_PLAIN + OnnxEncoder(encoder).dimensions)
    return GuardWeights(
        mean=(0.0,) * len(LEXICAL),
        scale=(1.0,) * len(LEXICAL),
        weights=(nothing,) * 4,
        bias=(9.0, 0.0, 0.0, 0.0),
        topic_mean=(0.0,) * len(TOPIC),
        topic_scale=(1.0,) * len(TOPIC),
        topic_weights=(0.0,) * len(TOPIC),
        topic_bias=-9.0,
        attack_threshold=dict.fromkeys(LANGUAGES, 0.5),
        topic_threshold=dict.fromkeys(LANGUAGES, 0.5),
    )


def test_a_rung_that_left_the_ladder_is_named(workspace: Path) -> None:
    with pytest.raises(NotReadyError, match=r"lost heavy .*palier record-outcomes"):
        package_release.run(params_of({"other": RUNG}), workspace, git_sha="0" * 40, now=NOW)


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("models/encoder/config.json", "train-encoder"),
        ("models/reader/model.onnx", "train-reader"),
        ("models/verifier/config.json", "train-reader"),
        ("models/scorer/scorer.json", "train-scorer"),
        ("data/corpus/golden.jsonl", "version-documents"),
    ],
)
def test_a_file_that_is_gone_is_named_with_the_command_that_makes_it(workspace: Path, file: str, command: str) -> None:
    write_tiny_reranker(Workspace(workspace).verifier, ["price"])
    write_json(Workspace(workspace).outcomes / "rungs.json", {"admitted": ["heavy", "reader"]})
    (workspace / file).unlink()
    with pytest.raises(NotReadyError, match=rf"{file} is not there: run `palier {command}`"):
        package_release.run(params_of({"heavy": RUNG, "reader": READER}), workspace, git_sha="0" * 40, now=NOW)
    assert not Workspace(workspace).release.exists()


def settings_of(tmp_path: Path) -> Settings:
    """Elasticsearch where nothing listens: a release starts without it."""
    return Settings(
        state_dir=tmp_path / "state",
        elasticsearch_url="http://127.0.0.1:9",
        heavy_url="http://127.0.0.1:9/v1",
        heavy_api_key="none",
    )


@pytest.mark.model
def test_a_release_carries_the_base_of_a_writer_that_was_not_tuned(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It lies in a package of the platform's environment, which a gateway has not: nothing may be looked for there."""
    place = Workspace(workspace)
    (place.reader / "model.onnx").unlink()  # a writer goes on without a reader
    write_json(place.outcomes / "rungs.json", {"admitted": ["heavy", "writer"]})
    made = package_release.run(params_of({"heavy": RUNG, "writer": WRITER}), workspace, git_sha="abc", now=NOW)
    (kept,) = (made.bundle / "models" / WRITER["model"]).iterdir()
    assert not verify_bundle(made.bundle).models[WRITER["model"]].from_catalogue
    monkeypatch.delattr("palier.adapters.runtime.resolve")
    rung = load_release(made.bundle, settings_of(tmp_path)).rungs["writer"]
    assert rung.answer(Question("What is 2 and 2?", "en"), []).text
    kept.write_bytes(b"another model")
    with pytest.raises(IntegrityError, match=kept.name):
        load_release(made.bundle, settings_of(tmp_path))


def test_a_release_that_reranks_carries_the_reranker(workspace: Path, tmp_path: Path):
    write_tiny_reranker(Workspace(workspace).reranker, ["price"])
    made = package_release.run(params_of(en=5), workspace, git_sha="abc", now=NOW)
    assert verify_bundle(made.bundle).models["reranker"].files.keys() == set(package_release.CROSS_ENCODER_FILES)
    assert made.manifest.retrieval.rerank == {"en": 5}
    load_release(made.bundle, settings_of(tmp_path))
    (made.bundle / "models" / "reranker" / "model.onnx").write_bytes(b"another model")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        load_release(made.bundle, settings_of(tmp_path))


def test_a_broken_copy_is_not_installed_and_the_mended_bundle_is(workspace: Path, tmp_path: Path):
    """Both bear one release id: a broken one that stood in the gateway's folder would be in the way for ever."""
    made = package_release.run(params_of(), workspace, git_sha="abc", now=NOW)
    weights = made.bundle / "models" / "scorer" / "scorer.json"
    whole = weights.read_bytes()
    weights.write_bytes(b"{}")
    with pytest.raises(IntegrityError, match=r"scorer\.json"):
        install_bundle(made.bundle, tmp_path / "releases")
    weights.write_bytes(whole)
    installed, manifest = install_bundle(made.bundle, tmp_path / "releases")
    assert installed.name == manifest.release_id == made.manifest.release_id
    assert verify_bundle(installed) == made.manifest


def test_a_release_that_does_not_rerank_leaves_it_behind(workspace: Path, tmp_path: Path):
    write_tiny_reranker(Workspace(workspace).reranker, ["price"])
    made = package_release.run(params_of(en=0, fr=0), workspace, git_sha="abc", now=NOW)
    assert "reranker" not in read_manifest(made.bundle).models
    assert not (made.bundle / "models" / "reranker").exists()
    load_release(made.bundle, settings_of(tmp_path))


def test_a_reranker_that_is_asked_for_and_absent_is_named(workspace: Path):
    with pytest.raises(NotReadyError, match=r"retrieval\.rerank is \{'fr': 3\}.*reranker lacks model\.onnx.*train-enc"):
        package_release.run(params_of(fr=3), workspace, git_sha="abc", now=NOW)
    assert not Workspace(workspace).release.exists()


def test_a_release_carries_the_verifier_that_its_scorer_hears(workspace: Path, tmp_path: Path):
    write_tiny_reranker(Workspace(workspace).verifier, ["price"])
    made = package_release.run(params_of(), workspace, git_sha="abc", now=NOW)
    assert verify_bundle(made.bundle).models["verifier"].files.keys() == set(package_release.CROSS_ENCODER_FILES)
    load_release(made.bundle, settings_of(tmp_path))
    (made.bundle / "models" / "verifier" / "model.onnx").unlink()
    with pytest.raises(IntegrityError, match="verifier"):
        load_release(made.bundle, settings_of(tmp_path))


def test_a_release_carries_its_guard_and_one_without_loads_none(workspace: Path, tmp_path: Path):
    made = package_release.run(params_of(), workspace, git_sha="abc", now=NOW)
    assert "guard" in verify_bundle(made.bundle).models
    assert load_release(made.bundle, settings_of(tmp_path)).guard is not None
    open_door = params_of().model_copy(update={"guard": GuardParams(enabled=False, off_topic=True, max_refused=0.0)})
    without = package_release.run(open_door, workspace, git_sha="abc", now=NOW)
    assert load_release(without.bundle, settings_of(tmp_path)).guard is None
    assert without.manifest.release_id != made.manifest.release_id


def test_a_guard_with_a_classifier_carries_it(workspace: Path, tmp_path: Path):
    place = Workspace(workspace)
    write_tiny_reranker(place.guard, ["en"])  # it marks what holds a word of the "question", which is the language
    heard = small_guard_of(place.encoder).model_copy(update={"classifier": dict.fromkeys(LANGUAGES, (0.0, 9.0, -4.0))})
    write_text(place.guard / "guard.json", heard.model_dump_json())
    made = package_release.run(params_of(), workspace, git_sha="abc", now=NOW)
    files = {"guard.json", *package_release.CROSS_ENCODER_FILES}
    assert verify_bundle(made.bundle).models["guard"].files.keys() == files
    guard = load_release(made.bundle, settings_of(tmp_path)).guard
    assert guard is not None
    assert [guard.judge(Question(text, "en")).refuses for text in ("price", "en")] == [False, True]
    (made.bundle / "models" / "guard" / "model.onnx").unlink()
    with pytest.raises(IntegrityError, match="guard"):
        load_release(made.bundle, settings_of(tmp_path))


def test_a_guard_without_the_classifier_that_it_wants_is_not_packaged(workspace: Path):
    place = Workspace(workspace)
    heard = small_guard_of(place.encoder).model_copy(update={"classifier": dict.fromkeys(LANGUAGES, (1.0, 1.0, 0.0))})
    write_text(place.guard / "guard.json", heard.model_dump_json())
    with pytest.raises(NotReadyError, match=r"lacks model\.onnx, tokenizer\.json, config\.json"):
        package_release.run(params_of(), workspace, git_sha="abc", now=NOW)


def test_a_guard_that_was_never_made_names_the_stage_that_makes_it(workspace: Path):
    (Workspace(workspace).guard / "guard.json").unlink()
    with pytest.raises(NotReadyError, match="train-scorer"):
        package_release.run(params_of(), workspace, git_sha="abc", now=NOW)
