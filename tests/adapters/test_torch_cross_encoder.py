"""The reranker in training and on its way out: real weights, trained for seconds, and what int8 leaves of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from palier.adapters.int8_export import FLOAT_MODEL
from palier.adapters.onnx_cross_encoder import OnnxCrossEncoder, PairCutter
from palier.adapters.reader_windows import padded
from palier.adapters.torch_cross_encoder import CrossEncoder, bare_cross_encoder, export_cross_encoder
from palier.errors import ParamsError

pytestmark = pytest.mark.model

TOWNS = ("York", "Leeds", "Bath", "Lyon", "Lille", "Nantes", "Bristol", "Dublin")
TEXTS = [f"The shop in {town} closes at {10 + i}:30 on Mondays. Dogs may come in." for i, town in enumerate(TOWNS)]
QUESTIONS = [f"When does {town} close?" for town in TOWNS]


def inputs_of(base: Path, pairs: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
    cutter = PairCutter(base)
    batch = padded([cutter.pair(question, text) for question, text in pairs])
    return {name: torch.from_numpy(array) for name, array in batch.items()}


@pytest.fixture(scope="module")
def trained(minilm: Path) -> CrossEncoder:
    """Two layers that learnt which of eight sentences belongs to which question."""
    model = bare_cross_encoder(minilm, n_layers=2, seed=1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)
    steps = [inputs_of(minilm, [(question, text) for text in TEXTS]) for question in QUESTIONS]
    model.train()
    for _ in range(8):
        for right, inputs in enumerate(steps):
            loss = torch.nn.functional.cross_entropy(model(**inputs)[None], torch.tensor([right]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def folder(trained: CrossEncoder, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reranker")
    export_cross_encoder(trained, minilm, path, float_too=True)
    return path


def test_computing_the_first_token_alone_changes_nothing(minilm: Path):
    """The last layer, cut down to [CLS], gives what the encoder's own forward gives there, padding and all."""
    model = bare_cross_encoder(minilm, n_layers=3, seed=1).eval()
    inputs = inputs_of(minilm, [(QUESTIONS[0], TEXTS[0]), (QUESTIONS[1], TEXTS[1] * 4)])
    with torch.inference_mode():
        whole = model.head(model.encoder(**inputs).last_hidden_state[:, 0]).squeeze(-1)
        torch.testing.assert_close(model(**inputs), whole, atol=1e-6, rtol=1e-5)


def test_the_same_seed_gives_the_same_head_and_layers_are_those_asked_for(minilm: Path):
    one, same, other = (bare_cross_encoder(minilm, n_layers=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert one.n_layers == 2
    with pytest.raises(ParamsError, match="7 layers"):
        bare_cross_encoder(minilm, n_layers=7, seed=1)


def test_the_export_says_what_the_model_says(trained: CrossEncoder, minilm: Path, folder: Path):
    """int8 keeps the order of taught pairs, and its logits rise and fall with those of fp32."""
    reranker = OnnxCrossEncoder(folder)
    for right, question in enumerate(QUESTIONS):
        served = reranker.score(question, TEXTS)
        with torch.inference_mode():
            exact = trained(**inputs_of(minilm, [(question, text) for text in TEXTS])).numpy()
        assert int(exact.argmax()) == right
        assert int(served.argmax()) == right
        assert np.corrcoef(served, exact)[0, 1] > 0.97
    assert (folder / "model.onnx").stat().st_size < 0.3 * (folder / FLOAT_MODEL).stat().st_size


def test_a_mark_does_not_depend_on_the_texts_beside_it(folder: Path):
    reranker = OnnxCrossEncoder(folder)
    alone = reranker.score(QUESTIONS[2], TEXTS[2:3])
    among = reranker.score(QUESTIONS[2], [TEXTS[0] * 9, "", TEXTS[2]])
    assert alone[0] == among[2]
