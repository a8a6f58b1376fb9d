"""The services that Palier starts on one machine: Elasticsearch, MLflow, Airflow and the gateway.

`specs` says what to run, `supervisor` starts, stops and reports it, `processes` knows the operating system, `binding`
whose the state is.
None of them reads the environment, the params or the workspace: everything comes as arguments.
"""

from palier.adapters.services.binding import bind_state, require_own_state
from palier.adapters.services.specs import (
    AirflowFolders,
    ServiceSpec,
    airflow_spec,
    gateway_spec,
    mlflow_spec,
    search_spec,
)
from palier.adapters.services.supervisor import Progress, Running, ServiceStatus, Supervisor

__all__ = [
    "AirflowFolders",
    "Progress",
    "Running",
    "ServiceSpec",
    "ServiceStatus",
    "Supervisor",
    "airflow_spec",
    "bind_state",
    "gateway_spec",
    "mlflow_spec",
    "require_own_state",
    "search_spec",
]
