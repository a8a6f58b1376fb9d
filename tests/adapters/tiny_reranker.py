"""A real reranker that is small: its logit is how many words question and passage share, as ONNX; no torch.

It takes what the trained one takes, (token ids, mask, types) of one pair, so that all around it is the real thing.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

SPECIAL = ("[UNK]", "[CLS]", "[SEP]")


def write_tiny_reranker(folder: Path, words: list[str], max_tokens: int = 224) -> Path:
    """A reranker folder that knows ``words``; unknown words are shared with nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    known = sorted({word.lower() for word in words})
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *known])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    onnx.save(_model(), str(folder / "model.onnx"))
    (folder / "config.json").write_text(json.dumps({"max_tokens": max_tokens, "layers": 1}), encoding="utf-8")
    return folder


def _model() -> onnx.ModelProto:
    constants = [
        numpy_helper.from_array(np.array([len(SPECIAL)], dtype=np.int64), "n_special"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
        numpy_helper.from_array(np.array([2], dtype=np.int64), "two"),
    ]
    nodes = [
        helper.make_node("GreaterOrEqual", ["input_ids", "n_special"], ["is_word"]),
        helper.make_node("Equal", ["token_type_ids", "one"], ["is_text"]),
        helper.make_node("Not", ["is_text"], ["is_question"]),
        helper.make_node("Equal", ["attention_mask", "one"], ["is_there"]),
        helper.make_node("And", ["is_word", "is_there"], ["counts"]),
        helper.make_node("And", ["counts", "is_question"], ["asked"]),
        helper.make_node("And", ["counts", "is_text"], ["told"]),
        helper.make_node("Unsqueeze", ["input_ids", "two"], ["down"]),
        helper.make_node("Unsqueeze", ["input_ids", "one"], ["across"]),
        helper.make_node("Equal", ["down", "across"], ["same"]),
        helper.make_node("Unsqueeze", ["told", "one"], ["told_across"]),
        helper.make_node("And", ["same", "told_across"], ["found"]),
        helper.make_node("Cast", ["found"], ["found_number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["found_number", "two"], ["is_found"], keepdims=0),
        helper.make_node("Cast", ["asked"], ["asked_number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["is_found", "asked_number"], ["shared"]),
        helper.make_node("ReduceSum", ["shared", "one"], ["logits"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch"])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
