"""A `Believer` in one safetensors file: arrays as tensors, and what they belong to as JSON in the file's header.

Nothing in such a file can run: a reader makes only the classes named here, of arrays, numbers and names.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from palier.domain.beliefs.believer import Believer
from palier.domain.beliefs.chances import Constant, Forest, Line, Mean, Neighbours, WordLine
from palier.errors import IntegrityError

BELIEFS_FILE = "beliefs.safetensors"
_CLASSES = {made.__name__: made for made in (Believer, Constant, Forest, Line, Mean, Neighbours, WordLine)}


def save_believer(believer: Believer, path: Path) -> None:
    """Write ``path`` beside itself, then switch."""
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    told = _taken_apart(believer, tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {"believer": json.dumps(told)})
    partial.replace(path)


def load_believer(path: Path) -> Believer:
    """What `save_believer` wrote; raises IntegrityError for a file that holds something else."""
    try:
        with safe_open(path, "np") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (it is no mapping)
            found = _put_together(json.loads(stored.metadata()["believer"]), tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{path} holds no beliefs ({error}). Train the scorer again: `train-scorer`.") from error
    if not isinstance(found, Believer):
        raise IntegrityError(f"{path} holds a {type(found).__name__}, no beliefs. Train the scorer again.")
    return found


def _taken_apart(part: Any, tensors: dict[str, np.ndarray[Any, Any]]) -> Any:
    """``part`` as JSON; its arrays go to ``tensors``, and stand in it by their number."""
    if isinstance(part, np.ndarray):
        name = str(len(tensors))
        tensors[name] = np.ascontiguousarray(part)
        return {"tensor": name}
    if isinstance(part, tuple):
        return [_taken_apart(one, tensors) for one in part]
    if dataclasses.is_dataclass(part):
        fields = {field.name: _taken_apart(getattr(part, field.name), tensors) for field in dataclasses.fields(part)}
        return {"class": type(part).__name__, "fields": fields}
    return part


def _put_together(told: Any, tensors: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(told, list):
        return tuple(_put_together(one, tensors) for one in told)
    if isinstance(told, dict) and "tensor" in told:
        return tensors[told["tensor"]]
    if isinstance(told, dict):
        fields = {name: _put_together(value, tensors) for name, value in told["fields"].items()}
        return _CLASSES[told["class"]](**fields)
    return told
