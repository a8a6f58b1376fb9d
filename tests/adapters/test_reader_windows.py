"""Windows are never longer than the model may read, and together they hold all of the passage."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from palier.adapters.onnx_cross_encoder import CrossEncoderConfig
from palier.adapters.onnx_reader import ReaderConfig
from palier.adapters.reader_windows import MAX_QUESTION_TOKENS, WindowCutter
from palier.params import TrainReaderParams
from tests.adapters.tiny_reranker import write_tiny_reranker


@pytest.mark.parametrize("config", [ReaderConfig, TrainReaderParams, CrossEncoderConfig])
def test_the_smallest_window_that_a_config_allows_has_room_beside_the_longest_question(
    config: type[BaseModel], tmp_path: Path
) -> None:
    smallest = next(one.ge for one in config.model_fields["max_tokens"].metadata if hasattr(one, "ge"))
    cutter = WindowCutter(write_tiny_reranker(tmp_path, ["when", "shop"]), smallest)
    windows = cutter.windows("when " * 2 * MAX_QUESTION_TOKENS, "shop " * 300)
    assert max(len(window.ids) for window in windows) <= smallest
    read = np.concatenate([window.offsets[window.in_passage, 0] for window in windows])
    assert set(read.tolist()) == set(range(0, 1500, 5))
