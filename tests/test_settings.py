"""Settings come from the environment, have loopback defaults, and never show a secret."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from palier.__main__ import main
from palier.errors import InputError
from palier.settings import Settings

SECRETS = {
    "PALIER_HEAVY_API_KEY": "sk-Xq7heavy",
    "PALIER_API_KEY": "pk-Xq7caller",
    "ELASTICSEARCH_API_KEY": "Xq7elastic",
    "PALIER_RECORDS_URL": "postgresql+psycopg://palier:Xq7records@db/palier",
    "ELASTICSEARCH_URL": "https://elastic:Xq7search@es:9200",
    "MLFLOW_TRACKING_URI": "https://user:Xq7mlflow@mlflow",
}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_no_secret_shows_in_repr_str_or_a_formatted_line(secrets):
    assert "Xq7" not in f"{secrets!r} {secrets!s} {[secrets]}"


def test_each_secret_is_read_and_can_be_had_on_purpose(secrets):
    held = [secrets.heavy_api_key, secrets.api_key, secrets.elasticsearch_api_key]
    names = ["PALIER_HEAVY_API_KEY", "PALIER_API_KEY", "ELASTICSEARCH_API_KEY"]
    assert [value.get_secret_value() for value in held if value] == [SECRETS[name] for name in names]
    assert secrets.database_url == SECRETS["PALIER_RECORDS_URL"]


@pytest.mark.parametrize("value", ["0", "65536", "-1", "http"])
def test_a_port_that_cannot_be_is_refused_by_the_name_it_was_set_by(monkeypatch, value):
    monkeypatch.setenv("PALIER_GATEWAY_PORT", value)
    with pytest.raises(InputError, match=rf"^PALIER_GATEWAY_PORT is '{value}': .* unset it"):
        Settings()


@pytest.mark.parametrize("url", ["es", "https://es", "es:9200", "http://elastic:Xq7", "http://elastic:Xq7@es:port"])
def test_an_address_that_is_none_is_refused_without_a_word_of_it(monkeypatch, url):
    """What stands where host or port are looked for may be a password; the cause is printed by a gateway."""
    monkeypatch.setenv("ELASTICSEARCH_URL", url)
    with pytest.raises(InputError, match=r"^ELASTICSEARCH_URL must name .* unset it") as refused:
        Settings()
    assert "Xq7" not in f"{refused.value} {refused.value.__cause__}"


def test_a_command_says_every_wrong_setting_and_ends_as_for_other_input(monkeypatch, capsys):
    monkeypatch.setenv("PALIER_GATEWAY_PORT", "abc")
    monkeypatch.setenv("PALIER_SEARCH_PORT", "0")
    monkeypatch.setattr("sys.argv", ["palier", "services", "status"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told] == ["error", "PALIER_SEARCH_PORT is '0'"]
    assert "PALIER_GATEWAY_PORT is 'abc'" in told[0]


@pytest.mark.parametrize("command", ["services up", "services status", "keys list", "usage", "doctor"])
def test_a_state_directory_under_a_file_is_refused_by_every_command(tmp_path, monkeypatch, capsys, command):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PALIER_STATE_DIR", str(tmp_path / "file" / "state"))
    monkeypatch.setattr("sys.argv", ["palier", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert f"PALIER_STATE_DIR is '{tmp_path}/file/state'" in told
    assert f"({tmp_path / 'file'} is no folder). Mend it" in told


@pytest.mark.parametrize("place", ["/", "shut"])
def test_a_state_directory_that_one_may_not_make_is_refused(tmp_path, place):
    """Where one may look but not write, and where one may not even look. One that is there may be read-only."""
    (tmp_path / "shut").mkdir(mode=0)
    wanted = tmp_path / place / "no-such-folder" / "state"
    told = as_nobody(lambda: Settings(state_dir=wanted))
    assert told.startswith(f"PALIER_STATE_DIR is '{wanted}', and no folder can be made there (")
    assert as_nobody(lambda: Settings(state_dir=Path("/"))) == ""


def as_nobody(read) -> str:
    """What InputError comes of it in a process that root's rights do not help; empty when none."""
    out, into = os.pipe()
    if not (child := os.fork()):
        told = "it did not end as it should"
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            read()
            told = ""
        except InputError as error:
            told = str(error)
        finally:
            os.write(into, told.encode())
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as stream:
        told = stream.read()
    os.waitpid(child, 0)
    return told


def test_defaults_are_the_embedded_services_on_loopback(monkeypatch, tmp_path):
    for name in ("ELASTICSEARCH_URL", "MLFLOW_TRACKING_URI", "PALIER_RECORDS_URL"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings(state_dir=tmp_path, search_port=9201, mlflow_port=5001)
    assert settings.search_url == "http://127.0.0.1:9201"
    assert settings.tracking_url == "http://127.0.0.1:5001"
    assert settings.database_url == f"sqlite:///{tmp_path / 'records.db'}"


def test_an_address_in_the_environment_wins_over_the_embedded_service(monkeypatch):
    monkeypatch.setenv("ELASTICSEARCH_URL", "https://search.example:9200")
    assert Settings(search_port=9201).search_url == "https://search.example:9200"


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    """Compose files and `.env` templates pass on what nobody filled in."""
    for name in (*SECRETS, "PALIER_GATEWAY_PORT", "PALIER_STATE_DIR", "PALIER_HEAVY_URL"):
        monkeypatch.setenv(name, "")
    settings = Settings()
    assert (settings.gateway_port, settings.elasticsearch_url, settings.mlflow_url) == (8000, None, None)
    assert (settings.heavy_url, settings.api_key, settings.records_url) == (None, None, None)
    assert settings.state_dir.name == ".palier"


def test_settings_do_not_change_under_way():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().gateway_port = 1
