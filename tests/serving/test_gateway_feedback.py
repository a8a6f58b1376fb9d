"""A correction sent to a running gateway becomes a training row; an erased one is gone, and can no longer be judged."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lexical_release import passages_of
from running_gateway import Running

from palier.adapters.feedback_rows import draw_feedback, read_examples, read_judged
from palier.adapters.workspace import Workspace, write_json, write_jsonl
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import collect_feedback

pytestmark = pytest.mark.service

QUESTION = "I am at 06 12 34 56 78: what does the large margherita cost?"


def params() -> Params:
    found = load_params(repository_root() / "params.yaml").model_dump(mode="json")
    found["collect_feedback"]["validation_percent"] = 0
    return Params.model_validate_json(json.dumps(found))


def corpus_of(gateway: Running, folder: Path) -> Workspace:
    """A workspace whose corpus is what the gateway's release answers from."""
    workspace = Workspace(folder)
    write_jsonl(workspace.corpus / "passages.jsonl", (asdict(passage) for passage in passages_of()))
    write_jsonl(workspace.corpus / "golden.jsonl", [])
    write_json(workspace.corpus / "manifest.json", {"revision": "c" * 64})
    return workspace


def test_from_the_gateway_to_the_training_set_and_out_again(gateway: Running, tmp_path: Path) -> None:
    """Asked and corrected over HTTP; collected without the telephone number; erased; collected again."""
    body = {"model": "palier", "messages": [{"role": "user", "content": QUESTION}]}
    workspace = corpus_of(gateway, tmp_path)
    with gateway.http() as http:
        request_id = http.post("/v1/chat/completions", json=body).headers["x-request-id"]
        judged = {"request_id": request_id, "rating": -1, "correction": "11.50 euros", "comment": "call me"}
        assert http.post("/v1/feedback", json=judged).status_code == 201

        draw_feedback(gateway.records, workspace, params(), datetime.now(UTC))
        result = collect_feedback.run(params(), workspace.root)
        (example,) = read_examples(workspace)
        assert (example.answers, example.document_id, example.source) == (("11.50 euros",), "en/prices", "correction")
        assert example.question == "I am at [phone]: what does the large margherita cost?"
        assert result.metrics["n_rows_with_personal_data_removed"] == 1

        gateway.records.erase(request_id, datetime.now(UTC))
        draw_feedback(gateway.records, workspace, params(), datetime.now(UTC))
        assert collect_feedback.run(params(), workspace.root).version != result.version
        assert (read_judged(workspace), read_examples(workspace)) == ([], [])
        late = http.post("/v1/feedback", json=judged)
        assert late.status_code == 404
        assert "erased" in late.json()["error"]["message"]
    row = gateway.rows()[request_id]
    assert (row.question, row.answer, row.citations) == ("", "", [])
    assert row.cost_nanousd > 0
