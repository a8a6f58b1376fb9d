"""Two routes for other systems: the release's encoder in OpenAI's shape, and its scorer."""

import base64

import numpy as np
import openai
import pytest
from lexical_release import WordEncoder
from running_gateway import Running

pytestmark = pytest.mark.service

TEXTS = ["What does delivery cost?", "Combien coûte la livraison ?"]


def test_openais_client_gets_the_encoders_vectors_in_order(gateway: Running) -> None:
    answer = gateway.client().embeddings.create(model="palier-encoder", input=TEXTS)
    vectors = np.array([row.embedding for row in answer.data], dtype=np.float32)
    np.testing.assert_allclose(vectors, WordEncoder().embed(TEXTS), atol=1e-6)
    assert ([row.index for row in answer.data], answer.model) == ([0, 1], "palier-encoder")
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 10


def test_base64_holds_the_same_floats(gateway: Running) -> None:
    body = {"model": "palier-encoder", "input": TEXTS[0]}
    with gateway.http() as http:
        plain = http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
        packed = http.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed), dtype="<f4"), plain, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "palier"}, 404),
        ({"input": []}, 400),
        ({"input": [1, 2, 3]}, 400),
        ({"input": "  "}, 400),
        ({"input": ["x"] * 300}, 400),
        ({"dimensions": 7}, 400),
    ],
)
def test_what_cannot_be_embedded_is_refused_and_the_field_named(
    gateway: Running, change: dict[str, object], status: int
) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/embeddings", json={"model": "palier-encoder", "input": "x", **change})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, next(iter(change)))


def test_both_routes_want_a_key(gateway: Running) -> None:
    with pytest.raises(openai.AuthenticationError):
        gateway.client("pk-wrong").embeddings.create(model="palier-encoder", input="x")
    with gateway.http("pk-wrong") as http:
        assert http.post("/v1/score", json={"question": "x", "answer": "y"}).status_code == 401


def test_a_score_rises_with_what_the_answer_says(gateway: Running) -> None:
    question = "Is the restaurant open on Sunday?"
    passages = ["The restaurant is open on Sunday from noon."]
    with gateway.http() as http:
        good = http.post("/v1/score", json={"question": question, "passages": passages, "answer": "open on Sunday"})
        bad = http.post("/v1/score", json={"question": question, "passages": passages, "answer": "seven euros"})
    assert good.json()["probability"] > bad.json()["probability"]
    assert (good.json()["language"], good.json()["release_id"]) == ("en", "r-founding")
    assert set(good.json()["features"]) == {"overlap"}  # the margin is our own rungs' alone


def test_an_empty_passage_is_refused(gateway: Running) -> None:
    with gateway.http() as http:
        answer = http.post("/v1/score", json={"question": "x", "passages": [" "], "answer": "y"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "passages")
