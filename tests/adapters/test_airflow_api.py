"""The client of Airflow's REST API asks for what a person needs to know."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from palier.adapters.airflow_api import AirflowApi, DagRunState

RUN = DagRunState("train_models", "manual__1", "failed", datetime(2026, 1, 1, tzinfo=UTC))


class _Handler(BaseHTTPRequestHandler):
    """Airflow's pages of one run whose task was tried twice, in the shape of its API."""

    def do_GET(self) -> None:
        _, _, rest = self.path.partition(f"/{RUN.run_id}/taskInstances")
        if self.path == "/auth/token":
            return self._reply({"access_token": "t"})
        if not rest:
            return self._reply({"task_instances": [{"task_id": "train_reader", "state": "failed", "try_number": 2}]})
        number = rest.partition("/logs/")[2].partition("?")[0]
        return self._reply({"content": [{"event": f"what try {number} died of"}]})

    def _reply(self, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def api() -> Iterator[AirflowApi]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield AirflowApi(f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_log_of_a_task_that_was_tried_again_is_that_of_its_last_try(api: AirflowApi) -> None:
    (task,) = api.tasks(RUN)
    assert api.task_log(task) == "what try 2 died of"
