"""Settings come from the environment, have loopback defaults, and never show a secret."""

import pytest
from pydantic import ValidationError

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
def test_a_port_that_cannot_be_is_refused_by_its_name(monkeypatch, value):
    monkeypatch.setenv("PALIER_GATEWAY_PORT", value)
    with pytest.raises(ValidationError, match="gateway_port"):
        Settings()


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
