"""Where and with what right we run: read from the environment by entry points, passed on as one object.

Nothing here changes an answer (that is `params.yaml`). Defaults are the embedded services on loopback.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65535)]


def repository_root() -> Path:
    """The checkout that this package is installed from (editable)."""
    return Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    """Environment variables start with PALIER_, but for those that the field names itself; an empty one counts as not
    set, as Compose files and `.env` templates mean it.

    URLs that may hold a password are left out of ``repr``, secrets are masked there.
    """

    model_config = SettingsConfigDict(
        env_prefix="PALIER_", env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    workspace: Path = Path("workspace")
    state_dir: Path = Field(default_factory=lambda: repository_root() / ".palier")
    """Service state, logs, the built search node and its data, releases of the gateway."""

    elasticsearch_url: str | None = Field(default=None, validation_alias="ELASTICSEARCH_URL", repr=False)
    elasticsearch_api_key: SecretStr | None = Field(default=None, validation_alias="ELASTICSEARCH_API_KEY")
    mlflow_url: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI", repr=False)
    index_alias: str = "passages"

    gateway_port: Port = 8000
    airflow_port: Port = 8080
    mlflow_port: Port = 5000
    search_port: Port = 9200

    records_url: str | None = Field(default=None, repr=False)
    """SQLAlchemy URL of ledger, keys and rollouts; default: SQLite in ``state_dir``."""

    heavy_url: str | None = None
    """Base URL of the OpenAI-compatible endpoint (``.../v1``), or the Azure resource's endpoint."""
    heavy_api_key: SecretStr | None = None
    heavy_api_version: str | None = None
    """Azure OpenAI's api-version; the rung's ``model`` is the deployment name there."""

    hub_url: str = "https://huggingface.co"
    """Where the model catalogue looks last; only asked for files that are not here."""

    api_key: SecretStr | None = None
    """The key that `palier ask` and the tour use; made by `palier keys create`."""

    @property
    def search_url(self) -> str:
        return self.elasticsearch_url or f"http://127.0.0.1:{self.search_port}"

    @property
    def tracking_url(self) -> str:
        return self.mlflow_url or f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def airflow_url(self) -> str:
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def database_url(self) -> str:
        return self.records_url or f"sqlite:///{self.state_dir.resolve() / 'records.db'}"
