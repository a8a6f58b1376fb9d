"""Where and with what right we run: read from the environment by entry points, passed on as one object.

Nothing here changes an answer (that is `params.yaml`). Defaults are the embedded services on loopback.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from palier.errors import InputError


def _with_port(url: str) -> str:
    """The address as Elasticsearch's client takes it; its own error would come late, and as a traceback."""
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not None
    except ValueError:  # its text would quote what stands for a port, which may be a password
        complete = False
    if not complete:
        raise ValueError("must name scheme, host and port, as in https://search.example:9200")
    return url


def _makeable(folder: Path) -> Path:
    """A folder that is there or can be made: else whatever needs it first would end in a traceback."""
    fault = ""
    try:
        nearest = next(path for path in (folder, *folder.resolve().parents) if path.exists())
        if not nearest.is_dir():
            fault = f"{nearest} is no folder"
        elif nearest != folder and not os.access(nearest, os.W_OK | os.X_OK):
            fault = f"you may not write in {nearest}"
    except OSError as error:
        fault = f"{error.filename}: {error.strerror}"
    if fault:
        raise ValueError(f"is {str(folder)!r}, and no folder can be made there ({fault})")
    return folder


Port = Annotated[int, Field(ge=1, le=65535)]


def repository_root() -> Path:
    """The checkout that this package is installed from (editable)."""
    return Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    """Environment variables start with PALIER_, but for those that the field names itself; an empty one counts as not
    set, as Compose files and `.env` templates mean it.

    URLs that may hold a password are left out of ``repr``, secrets are masked there. A wrong value is an InputError.
    """

    model_config = SettingsConfigDict(
        env_prefix="PALIER_",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,  # a gateway that cannot start prints the error's cause
    )

    workspace: Path = Path("workspace")
    state_dir: Annotated[Path, AfterValidator(_makeable)] = Field(default_factory=lambda: repository_root() / ".palier")
    """Service state, logs, the search node's data, MLflow's store (but for the default: `mlruns/` beside it), releases
    of the gateway: all of one workspace.
    """

    elasticsearch_url: Annotated[str, AfterValidator(_with_port)] | None = Field(
        default=None, validation_alias="ELASTICSEARCH_URL", repr=False
    )
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

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_clearly(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return read(given)
        except ValidationError as error:
            raise InputError("\n".join(_finding(dict(item)) for item in error.errors())) from error

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


def _finding(item: Mapping[str, Any]) -> str:
    """What is wrong with one setting, under the name that it has in the environment."""
    name = str(item["loc"][0])
    variable = f"PALIER_{name.upper()}" if name in Settings.model_fields else name
    if item["type"] == "value_error":  # a rule of ours says what is wrong; the value may hold a password
        return f"{variable} {item['ctx']['error']}. Mend it, or unset it for the default."
    return f"{variable} is {item['input']!r}: {item['msg']}. Mend it, or unset it for the default."
