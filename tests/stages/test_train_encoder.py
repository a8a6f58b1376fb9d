"""The exported encoder is the original, and tuning teaches it the questions it was tuned on."""

import json
from pathlib import Path

import numpy as np
import pytest

from palier.adapters.catalogue import resolve
from palier.adapters.encoder_training import EncoderPlan, TrainingPassage, neighbour_batches, train_steps
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.torch_encoder import embed_fp32, load_encoder
from palier.adapters.workspace import write_jsonl
from palier.params import load_params
from palier.settings import repository_root
from palier.stages import train_encoder

pytestmark = pytest.mark.model

PAIRS = [
    ("combien coûte la petite ?", "Tarifs. Format 25 cm : 8,20 €."),
    ("vous ouvrez quand ?", "Horaires. De midi à minuit, sauf le lundi."),
    ("j'ai perdu mon mot de passe", "Compte. Un lien valable 30 minutes est envoyé par mail."),
    ("la pizza est arrivée froide", "Réclamations. Une photo dans les 24 heures."),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    passages, golden = [], []
    for i, (question, text) in enumerate(PAIRS):
        key = f"fr/page-{i}#0"
        passages.append(
            {"passage_id": key, "document_id": f"fr/page-{i}", "lang": "fr", "title": "", "headings": ""}
            | {"text": text, "start_line": 1, "end_line": 1}
        )
        golden.append(
            {"id": f"fr-{i}", "lang": "fr", "question": question, "answers": ["a"], "quote": text}
            | {"document_id": f"fr/page-{i}", "answerable": True, "kind": "fact", "passage_ids": [key]}
            | {"split": "validation" if i == 0 else "train", "history": []}
        )
    write_jsonl(tmp_path / "data" / "corpus" / "passages.jsonl", passages)
    write_jsonl(tmp_path / "data" / "corpus" / "golden.jsonl", golden)
    return tmp_path


def test_the_int8_encoder_is_close_to_the_original_and_written_whole(workspace: Path):
    result = train_encoder.run(load_params(repository_root() / "params.yaml"), workspace)
    assert sorted(path.name for path in result.folder.iterdir()) == [
        "config.json",
        "metrics.json",
        "model.onnx",
        "tokenizer.json",
    ]
    texts = [text for pair in PAIRS for text in pair]
    original = embed_fp32(load_encoder(resolve("all-minilm-l6-v2"), resolve("encoder-starter")), texts)
    cosines = (OnnxEncoder(result.folder).embed(texts) * original).sum(axis=1)
    assert cosines.min() > 0.97
    told = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    assert told == result.metrics
    assert 0 <= told["dense_mrr_fr"] <= 1


def test_tuning_pulls_questions_to_their_passages():
    model = load_encoder(resolve("all-minilm-l6-v2"))

    def margin() -> float:
        questions = embed_fp32(model, [question for question, _ in PAIRS])
        near = questions @ embed_fp32(model, [text for _, text in PAIRS]).T
        return float(np.mean(np.diag(near) - (near.sum(axis=1) - np.diag(near)) / (len(PAIRS) - 1)))

    before = margin()
    batch = [TrainingPassage(text, (question,)) for question, text in PAIRS]
    steps: list[int] = []
    plan = EncoderPlan(6, 1e-4, batch_passages=len(PAIRS), seed=1, n_threads=1)
    train_steps(model, iter([batch] * 6), plan, lambda step, _: steps.append(step))
    assert margin() > before + 0.1
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_batch_is_made_of_neighbours_and_each_row_comes_once():
    similar = np.zeros((12, 12), dtype=np.float32)
    for topic in range(3):
        rows = np.arange(4) * 3 + topic
        similar[np.ix_(rows, rows)] = 1.0
    batches = neighbour_batches(similar, 4, np.random.default_rng(0), neighbours=4)
    assert sorted(row for batch in batches for row in batch) == list(range(12))
    assert all(len({row % 3 for row in batch}) == 1 for batch in batches)


def test_what_was_tuned_is_kept_only_where_it_finds_as_much(workspace: Path):
    params = load_params(repository_root() / "params.yaml")
    tuned = params.train_encoder.model_copy(update={"epochs": 2, "batch_passages": 3, "learning_rate": 1e-4})
    result = train_encoder.run(params.model_copy(update={"train_encoder": tuned}), workspace)
    assert result.n_pairs == 3
    is_better = result.metrics["dense_mrr_fr"] >= result.metrics["dense_mrr_fr_before"] - 0.01
    assert is_better or not result.metrics["is_tuned_kept"]
    original = embed_fp32(load_encoder(resolve("all-minilm-l6-v2"), resolve("encoder-starter")), [PAIRS[1][0]])[0]
    same = float(OnnxEncoder(result.folder).embed([PAIRS[1][0]])[0] @ original)
    assert (same < 0.995) == bool(result.metrics["is_tuned_kept"])
