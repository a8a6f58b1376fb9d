"""Commands on this machine: what they read, what they leave, and what they say when something is not there."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from palier.__main__ import build_app
from palier.adapters import release_commands
from palier.adapters.airflow_api import AirflowApi
from palier.adapters.records import Records
from palier.adapters.release_commands import Candidate, Order
from palier.adapters.services.binding import NOTE, bind_state
from palier.commands.context import open_context
from palier.commands.questions import _ask_file, create_key, local_key, revoke_key, trace
from palier.commands.releases import explain
from palier.commands.services import down, specs, start, up
from palier.commands.stages import WARNINGS_SHOWN, version_documents
from palier.commands.tour import _first_questions, run_tour, wait_until_ready
from palier.commands.workspaces import _findings
from palier.domain.ledger import LedgerRow
from palier.domain.rollout import ReleaseRef
from palier.errors import InputError, ServiceError
from palier.params import load_params
from palier.settings import Settings, repository_root

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = 9
"""The discard port: nothing listens."""


def test_a_trace_needs_no_index_and_names_the_file_as_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines stand in the ledger; a PDF is no Markdown file, nor is a folder that bears its name."""
    for name in ("menu", "menu.d"):
        (tmp_path / "documents" / "fr" / name).mkdir(parents=True)
    (tmp_path / "documents" / "fr" / "menu.pdf").touch()
    for name, value in {
        "PALIER_WORKSPACE": str(tmp_path),
        "PALIER_RECORDS_URL": f"sqlite:///{tmp_path / 'records.db'}",
        "ELASTICSEARCH_URL": f"http://127.0.0.1:{NOBODY}",
    }.items():
        monkeypatch.setenv(name, value)
    records = Records(Settings().database_url)
    asked = LedgerRow("req-1", NOW, "key-1", "r-gone", None, "champion", "fr", "Prix ?", "9 €", "reader", 0.9, False)
    records.append_request(replace(asked, index="passages-a-b", citations=[cited("fr/menu"), cited("fr/horaires")]))
    records.close()
    trace("req-1", as_json=True)
    sources = json.loads(capsys.readouterr().out)["sources"]
    assert [source["file"] for source in sources] == ["documents/fr/menu.pdf", "documents/fr/horaires.md"]
    assert [(source["start_line"], source["end_line"]) for source in sources] == [(3, 5), (3, 5)]


def cited(document_id: str) -> dict[str, Any]:
    return {
        "document_id": document_id,
        "revision": "a" * 12,
        "passage_id": f"{document_id}#1",
        "quote": "Une pizza coûte 9 €.",
        "start_line": 3,
        "end_line": 5,
    }


def test_the_key_of_this_machine_is_kept_where_no_folder_was(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", records_url=f"sqlite:///{tmp_path / 'records.db'}")
    assert local_key(settings) == local_key(settings)
    assert (tmp_path / "state" / "local-api-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [None, "{", '["question"]', "\xff"])
def test_a_file_of_questions_that_is_none_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "questions.jsonl"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"questions\.jsonl"):
        _ask_file(Settings(state_dir=tmp_path, gateway_port=NOBODY), file, "palier", 1)


def test_a_gateway_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="palier services up"):
        wait_until_ready(Settings(state_dir=tmp_path, gateway_port=NOBODY))


def test_the_doctor_looks_at_the_disk_where_state_will_be_kept(tmp_path: Path) -> None:
    findings = _findings(Settings(state_dir=tmp_path / "not" / "yet" / "there"))
    assert "GB of disk free" in findings[-1]["what"]


def test_an_empty_address_leaves_the_embedded_search_node_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICSEARCH_URL", "")
    assert [spec.name for spec in specs(Settings(), ("search",))] == ["search"]


@dataclass(frozen=True)
class Places:
    """A state directory, not there yet, and two workspaces that may want it."""

    state: Path
    mine: Path
    other: Path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """They are of the environment; MLflow runs elsewhere, so that `up mlflow` starts nothing."""
    found = Places(tmp_path / "some" / "state", tmp_path / "mine", tmp_path / "other")
    for workspace in (found.mine, found.other):
        workspace.mkdir()
        shutil.copy(repository_root() / "params.yaml", workspace)
    monkeypatch.setenv("PALIER_STATE_DIR", str(found.state))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{NOBODY}")
    monkeypatch.chdir(tmp_path)
    return found


def test_a_state_belongs_to_the_workspace_that_its_services_were_started_for(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is refused whatever it asks, with both paths and the remedy; nothing is started or made for it."""
    monkeypatch.setenv("PALIER_WORKSPACE", "mine")
    up(["mlflow"])
    up(["mlflow"])
    assert open_context(None).workspace.root == places.mine
    said = rf"{places.state} belongs .* {places.mine}, and {places.other} .*services down.*PALIER_STATE_DIR="
    with pytest.raises(InputError, match=said):
        open_context(Path("other"))
    monkeypatch.setenv("PALIER_WORKSPACE", "other")
    with pytest.raises(InputError, match=said):
        up(["mlflow"])
    with pytest.raises(InputError, match=rf"{places.mine}, and {places.other}-new .* go on with {places.mine}"):
        run_tour(Path("other-new"))
    assert not Path("other-new").exists()
    assert [path.name for path in places.state.iterdir() if path.is_file()] == [NOTE]


def test_a_state_is_found_again_by_its_workspace_under_any_name(places: Places) -> None:
    """Through a link, and from the copy that DVC makes below the workspace for an experiment."""
    bind_state(places.state, places.mine)
    Path("alias").symlink_to(places.mine)
    open_context(Path("alias"))
    copy = places.mine / ".dvc" / "tmp" / "exps" / "tmp1"
    copy.mkdir(parents=True)
    shutil.copy(places.mine / "params.yaml", copy)
    open_context(copy)
    bind_state(places.state, Path("alias"))


def test_a_workspace_that_was_moved_is_let_in_by_hand(places: Places) -> None:
    bind_state(places.state, places.mine)
    shutil.rmtree(places.other)
    places.mine.rename(places.other)
    note = places.state / NOTE
    with pytest.raises(
        InputError, match=rf"{places.mine} is not there any more: .*{places.other} now, delete {note}\."
    ):
        open_context(places.other)
    note.unlink()
    start(Settings(workspace=places.other), ["mlflow"])
    assert note.read_text() == f"{places.other}\n"


def test_services_without_a_workspace_leave_the_state_to_whoever_comes(places: Places) -> None:
    """A search node for benchmarks, say."""
    start(Settings(workspace=Path("nowhere")), ["mlflow"])
    open_context(places.mine)
    open_context(places.other)


def test_a_state_that_cannot_be_written_is_said(places: Places) -> None:
    settings = Settings(workspace=places.mine)
    places.state.parent.mkdir()
    places.state.touch()  # since the settings were read
    with pytest.raises(InputError, match=rf"{places.state}.*PALIER_STATE_DIR"):
        start(settings, ["mlflow"])
    with pytest.raises(InputError, match=rf"{places.state}.*PALIER_STATE_DIR"):
        bind_state(places.state, places.mine)


def test_each_state_has_an_mlflow_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Aliases of one assistant's releases are not moved by another's; the default's lies in the checkout."""
    monkeypatch.delenv("PALIER_STATE_DIR")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (default,) = specs(Settings(), ("mlflow",))
    assert default.cwd == repository_root()
    (own,) = specs(Settings(state_dir=tmp_path), ("mlflow",))
    assert callable(own.command)
    assert f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}" in own.command(lambda _line: None)


def test_every_command_prints_json_but_those_that_show_or_write_it() -> None:
    """`run` and `demo-rollback` are there to be watched; the result of `bench` is the JSON file that it is told."""
    assert {name for name, takes_json in commands() if not takes_json} == {"run", "demo-rollback", "bench"}


def commands() -> Iterator[tuple[str, bool]]:
    """The name of every command, and whether it takes --json."""

    def below(command: Any, name: str) -> Iterator[tuple[str, bool]]:
        if hasattr(command, "commands"):
            for child_name, child in command.commands.items():
                yield from below(child, f"{name} {child_name}".strip())
        else:
            yield name, any("--json" in option.opts for option in command.params)

    return below(get_command(build_app()), "")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    """Commands keep what they keep in the test's folder; call it for the JSON that was printed since."""
    monkeypatch.setenv("PALIER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PALIER_RECORDS_URL", f"sqlite:///{tmp_path / 'records.db'}")
    return lambda: json.loads(capsys.readouterr().out)


def test_a_revoked_key_is_told_as_the_list_tells_it(told: Callable[[], Any]) -> None:
    create_key("ada", as_json=True)
    key_id = told()["key_id"]
    revoke_key(key_id, as_json=True)
    revoked = told()
    assert (revoked["key_id"], revoked["name"], revoked["scopes"]) == (key_id, "ada", ["ask"])
    assert revoked["revoked_at"]


def test_a_rollout_is_explained_in_data_and_in_words(told: Callable[[], Any], tmp_path: Path) -> None:
    """The same rollout, named or not; each event as the history tells it."""
    params, records = load_params(repository_root() / "params.yaml"), Records(Settings().database_url)
    for name in ("r-1", "r-2"):
        release = Candidate(ReleaseRef(name, str(tmp_path), "corpus-1", NOW), {"f1": 0.9})
        order = Order("ada", "why not", NOW)
        started = release_commands.start(records, release, params.evaluate_release, params.rollout, order)
    explain(as_json=True)
    found = told()
    assert (found["rollout"]["rollout_id"], found["rollout"]["phase"]) == (started.rollout_id, "shadow")
    assert [event["release_id"] for event in found["events"]] == ["r-2"]
    assert found["explanation"] == release_commands.explain(records)
    explain(started.rollout_id, as_json=True)
    assert told() == found


def test_services_that_do_not_run_are_told_so(told: Callable[[], Any]) -> None:
    down(["search", "mlflow"], as_json=True)
    assert told() == [{"name": name, "was_running": False, "n_processes": 0} for name in ("mlflow", "search")]


def test_an_airflow_that_is_away_is_started_by_a_command() -> None:
    with pytest.raises(ServiceError, match=r"does not answer .*palier services up airflow"):
        AirflowApi(f"http://127.0.0.1:{NOBODY}").dag_ids()


def test_what_is_odd_about_the_documents_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Not only where a program reads it; of many such warnings the first ones, and where all of them stand."""
    documents = tmp_path / "documents" / "en"
    documents.mkdir(parents=True)
    (tmp_path / "golden").mkdir()
    page = "---\ntitle: Launch {}\nvalid_from: 2026-06-01\n---\n\nLaunch price {} is valid until 31 March 2026.\n"
    for number in range(WARNINGS_SHOWN + 2):
        (documents / f"launch-{number}.md").write_text(page.format(number, number), encoding="utf-8")
    text = (repository_root() / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("min_golden_questions: 20", "min_golden_questions: 0").replace(
        "languages: [en, fr]", "languages: [en]"
    )
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    version_documents(tmp_path, as_json=False, files_only=True)
    said = capfd.readouterr().err
    assert said.count("valid from 2026-06-01 until 2026-03-31") == WARNINGS_SHOWN
    assert f"warning: and 2 more, all in {tmp_path / 'data' / 'corpus' / 'manifest.json'}" in said


def test_after_a_run_the_owners_own_questions_are_asked(tmp_path: Path) -> None:
    """The first of each language that has an answer and stands by itself."""
    rows = [
        {"lang": "en", "question": "Is there a pool?", "answerable": False},
        {"lang": "en", "question": "And on Sunday?", "history": [{"role": "user", "content": "When do you open?"}]},
        {"lang": "en", "question": "When is breakfast?"},
        {"lang": "en", "question": "When is dinner?"},
        {"lang": "fr", "question": "À quelle heure fermez-vous ?", "answerable": True},
    ]
    (tmp_path / "golden").mkdir()
    for lang in ("en", "fr"):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows if row["lang"] == lang]
        (tmp_path / "golden" / f"{lang}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = _first_questions(Settings(workspace=tmp_path))
    assert found == ["When is breakfast?", "À quelle heure fermez-vous ?"]
