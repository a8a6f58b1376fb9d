"""A worse reader on purpose: the champion's bundle with its span head turned round, for demonstrations and tests.

The copy is a valid release in every other way (its own id, right checksums, the champion's evaluation): nothing tells
the rollout that it is worse, so only live evidence can. The fault is the same for every champion: a head scrambled by
chance pointed at nearly right words now and then, and how soon it was found depended on the draw.
"""

import shutil
from pathlib import Path

import numpy as np

from palier.adapters.catalogue import sha256_file
from palier.adapters.runtime import read_manifest
from palier.adapters.workspace import write_text
from palier.domain.bundle import MANIFEST, Manifest, release_id

SPAN_HEAD_WIDTH = 2
"""The span head maps each token to a start and an end logit."""


def plant_worse_reader(bundle: Path, target: Path) -> Manifest:
    """Copy ``bundle`` to ``target`` with a reader that points where it sees least of an answer; the copy's manifest."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(bundle, target)
    reader = target / "models" / "reader" / "model.onnx"
    negate_span_head(reader)
    manifest = read_manifest(bundle)
    models = dict(manifest.models)
    files = {**models["reader"].files, "model.onnx": sha256_file(reader)}
    models["reader"] = models["reader"].model_copy(update={"files": files, "version": files["model.onnx"][:12]})
    content = manifest.model_dump(
        mode="json", exclude={"release_id", "created_at", "git_sha", "evaluation", "guarantee"}
    )
    content["models"] = {name: model.model_dump(mode="json") for name, model in models.items()}
    worse = manifest.model_copy(update={"models": models, "release_id": release_id(content)})
    write_text(target / MANIFEST, worse.model_dump_json(indent=1) + "\n")
    return worse


def negate_span_head(model: Path) -> None:
    """Turn the sign of the span head's weights and bias: the likeliest words of an answer become the least likely."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(model))
    for tensor in graph.graph.initializer:
        is_weight = len(tensor.dims) == 2 and tensor.dims[1] == SPAN_HEAD_WIDTH
        if is_weight or (list(tensor.dims) == [SPAN_HEAD_WIDTH] and tensor.name.endswith("bias")):
            values = numpy_helper.to_array(tensor)
            # int8 holds -128 and not 128; the quantiser is symmetric, so a change of sign needs no other zero point
            turned = -values if values.dtype.kind == "f" else (-values.astype(np.int16)).clip(-128, 127)
            tensor.CopyFrom(numpy_helper.from_array(turned.astype(values.dtype), tensor.name))
    onnx.save(graph, str(model))
