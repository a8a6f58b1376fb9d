"""The planted fault turns the span head round and touches nothing else."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from palier.adapters.planted_fault import negate_span_head


def write_graph(path: Path, **tensors: np.ndarray) -> None:
    initializers = [numpy_helper.from_array(values, name.replace("__", ".")) for name, values in tensors.items()]
    onnx.save(helper.make_model(helper.make_graph([], "reader", [], [], initializers)), str(path))


def test_the_likeliest_words_become_the_least_likely_and_nothing_else_changes(tmp_path: Path):
    rounded = np.array([[-128, 127], [5, 0]], dtype=np.int8)
    kinds = np.ones((2, 3), dtype=np.float32)
    bias = np.array([0.5, -1.0], dtype=np.float32)
    scale = np.array([0.1, 0.2], dtype=np.float32)
    path = tmp_path / "model.onnx"
    write_graph(path, span=rounded, kind=kinds, span_head__bias=bias, span_scale=scale)
    negate_span_head(path)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}
    assert found["span"].tolist() == [[127, -127], [-5, 0]]
    assert found["span"].dtype == np.int8
    assert found["span_head.bias"].tolist() == [-0.5, 1.0]
    assert np.array_equal(found["kind"], kinds)
    assert np.array_equal(found["span_scale"], scale)
