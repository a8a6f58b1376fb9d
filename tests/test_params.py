"""`params.yaml` means what it says, and a wrong value is named with its place, what it is and what was expected."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from palier.errors import ParamsError
from palier.params import GitSource, HeavyRung, Params, S3Source, load_params, parse_params
from palier.settings import repository_root

TEMPLATE = (repository_root() / "params.yaml").read_text(encoding="utf-8")
Edit = Callable[[str, str], Params]


@pytest.fixture
def load(tmp_path: Path) -> Edit:
    """The template with the line of one key (`section.key`, or `key` at the top) replaced, read from a file."""

    def edited(place: str, line: str) -> Params:
        section, _, key = place.rpartition(".")
        before, found, after = TEMPLATE.partition(f"\n{section}:\n" if section else "\n")
        assert found, f"no section {section!r}"
        text, n = re.subn(rf"(?m)^( *){key}: .*$", lambda match: match[1] + line, after, count=1)
        assert n == 1, f"{key!r} is not in {section!r}"
        path = tmp_path / "params.yaml"
        path.write_text(before + found + text, encoding="utf-8")
        return load_params(path)

    return edited


def test_the_template_of_the_repository_is_right():
    assert load_params(repository_root() / "params.yaml").languages == ("en", "fr")


def test_a_mistyped_key_is_named_with_its_place(load):
    with pytest.raises(ParamsError, match=r"train_reader\.batchsize: no such parameter \(a typo\?") as caught:
        load("train_reader.batch_size", "batchsize: 16")
    assert "train_reader.batch_size: missing" in str(caught.value)


def test_all_wrong_values_are_told_at_once(load):
    with pytest.raises(ParamsError, match=r"2 wrong value\(s\)") as caught:
        load("train_reader.batch_size", "batch_size: 0\n  rank: -4")
    assert "train_reader.batch_size: Input should be greater than 0, got 0" in str(caught.value)
    assert "train_reader.rank: no such parameter" in str(caught.value)


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("5E-5", 5e-5), ("1.5e-4", 1.5e-4), ("1", 1.0)])
def test_scientific_notation_is_a_number(load, text, value):
    assert load("train_reader.learning_rate", f"learning_rate: {text}").train_reader.learning_rate == value


@pytest.mark.parametrize("word", ["no", "off", "yes", "on", "Y"])
def test_words_that_old_yaml_took_for_true_or_false_stay_text(load, word):
    assert load("build_index.dense_options", "dense_options: flat").build_index.dense_options == "flat"
    assert load("train_reader.starter", f"starter: {word}").train_reader.starter == word


@pytest.mark.parametrize("text", ['"16"', "true", "16.5", "sixteen", "null", "[16]"])
def test_what_is_not_a_whole_number_is_not_taken_for_one(load, text):
    with pytest.raises(ParamsError, match=r"train_reader\.batch_size"):
        load("train_reader.batch_size", f"batch_size: {text}")


@pytest.mark.parametrize(
    ("key", "text", "place"),
    [
        ("version_documents.max_bad_share", "1.5", r"version_documents\.max_bad_share"),
        ("tune_cascade.confidence", "0.5", r"tune_cascade\.confidence"),
        ("tune_cascade.confidence", ".nan", r"tune_cascade\.confidence"),
        ("train_reader.max_tokens", "513", r"train_reader\.max_tokens"),
        ("train_reader.max_tokens", "127", r"train_reader\.max_tokens"),
        ("retrieval.dense_weight", "{en: 0.45, de: 0.25}", r"retrieval\.dense_weight\.de"),
        ("languages", "[]", "languages"),
        ("languages", "[en, fi]", r"languages\.1"),
        ("rollout.canary_shares", "[0.2, 5]", r"rollout\.canary_shares\.1"),
        ("ladder.reader", "{kind: oracle, passages: 2}", r"ladder\.rungs\.reader"),
    ],
)
def test_a_value_out_of_range_is_named(load, key, text, place):
    with pytest.raises(ParamsError, match=place):
        load(key, f"{key.rpartition('.')[2]}: {text}")


def test_the_heavy_rung_of_the_template_is_right_once_it_is_no_comment():
    lines = TEMPLATE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip() == "# heavy:")
    lines[start : start + 7] = [line.replace("# ", "", 1) for line in lines[start : start + 7]]
    params = parse_params(YAML(typ="safe", pure=True).load("\n".join(lines)), "the template")
    heavy = params.ladder.rungs["heavy"]
    assert isinstance(heavy, HeavyRung)
    assert heavy.price.date.isoformat() == "2024-07-18"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("seed: [", "not valid YAML"),
        ("seed: 1\nseed: 2", "not valid YAML"),
        ("", "wrong value"),
        ("- 1", "wrong value"),
    ],
)
def test_a_file_that_is_no_params_file_says_so_with_its_path(tmp_path, text, reason):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=reason) as caught:
        load_params(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"prompt: caf\xe9")
    with pytest.raises(ParamsError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")


def test_an_absent_file_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(ParamsError, match="palier init"):
        load_params(tmp_path / "params.yaml")


def test_params_survive_json_as_manifests_and_records_keep_them():
    params = load_params(repository_root() / "params.yaml")
    assert parse_params(json.loads(params.model_dump_json()), "json") == params
    assert Params.model_validate_json(params.model_dump_json()) == params


def test_nothing_in_the_environment_overrides_a_param(monkeypatch):
    before = load_params(repository_root() / "params.yaml")
    for name in ("SEED", "PALIER_SEED", "PALIER_PROMPT", "PALIER_PARAMS"):
        monkeypatch.setenv(name, "99")
    assert load_params(repository_root() / "params.yaml") == before


def test_params_do_not_change_under_way():
    params: Any = load_params(repository_root() / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.train_reader.epochs = 9


def test_documents_may_come_from_a_git_repository_or_a_bucket(load):
    git = load("source", "source: {git: 'https://example.org/handbook.git', folder: docs}").version_documents.source
    assert git == GitSource(git="https://example.org/handbook.git", folder="docs")
    bucket = load("source", "source: {s3: 's3://handbook/team'}").version_documents.source
    assert bucket == S3Source(s3="s3://handbook/team")


@pytest.mark.parametrize(
    "source",
    [
        "{git: 'https://me:secret@example.org/handbook.git'}",
        "{git: 'ext::sh -c id'}",
        "{git: '--upload-pack=id'}",
        "{git: 'https://example.org/handbook.git', revision: '--output=x'}",
        "{s3: 'https://example.org/bucket'}",
    ],
)
def test_a_source_that_holds_a_secret_or_a_command_is_refused(load, source):
    with pytest.raises(ParamsError, match=r"version_documents\.source") as caught:
        load("source", f"source: {source}")
    assert "me:secret" not in str(caught.value)
