"""The models that a benchmark measures when none is named: those of `params.yaml`, exported to int8 as the stages do.

Exports are kept beside the services' state under a hash of what went into them, the exporters' code too, so that a
changed starter or another rounding is never measured under the old one's name. Knows no benchmark. torch is imported
only when something must be exported.
"""

import fcntl
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from bench.report import tell
from palier.adapters import catalogue
from palier.adapters.catalogue import load_catalogue, resolve, sha256_file
from palier.adapters.golden_guard import BASE, STARTER, export_classifier
from palier.adapters.onnx_cross_encoder import OnnxCrossEncoder
from palier.errors import InputError
from palier.params import Params, TrainEncoderParams
from palier.settings import repository_root

EXPORTERS = (
    "int8_export.py", "reader_adapter.py", "reader_export.py", "torch_cross_encoder.py", "torch_encoder.py",
    "writer_export.py",
)  # fmt: skip
RERANKER_STARTER, WRITER_STARTER = "reranker-starter", "writer-starter"


def exported_reader(params: Params) -> Path:
    """The starter reader of ``params`` as int8 ONNX; raises InputError where none is named."""
    base, starter, seed = params.train_reader.base, params.train_reader.starter, params.seed
    if starter is None:
        raise InputError("params.yaml names no train_reader.starter: give a reader_folder to measure.")

    def export(folder: Path) -> None:
        from palier.adapters.reader_adapter import starter_reader
        from palier.adapters.reader_export import export_reader, starter_config

        reader = starter_reader(resolve(base), resolve(starter), seed)
        export_reader(reader, resolve(base), folder, starter_config(resolve(starter)))

    return _kept("readers", [base, starter], export)


def exported_writer(params: Params) -> Path | None:
    """The starter writer of ``params``, or else the catalogue's `writer-starter`, merged and rounded; None
    without either.
    """
    base = params.train_writer.base
    starter = params.train_writer.starter or (WRITER_STARTER if WRITER_STARTER in load_catalogue() else None)
    if starter is None:
        return None

    def export(folder: Path) -> None:
        from palier.stages.train_writer import export_starter

        folder.mkdir(parents=True)
        export_starter(base, resolve(starter), folder)

    return _kept("writers", [base, starter], export)


def exported_encoder(base: str, starter: str | None = None) -> Path:
    """The catalogue's encoder ``base``, with the change of ``starter`` where one is named, as int8 ONNX."""

    def export(folder: Path) -> None:
        from palier.adapters.torch_encoder import export_int8, load_encoder

        export_int8(load_encoder(resolve(base), resolve(starter) if starter else None), folder)

    return _kept("encoders", [base, starter], export)


def exported_reranker(params: TrainEncoderParams) -> Path | None:
    """The reranker of ``params``, or else the catalogue's `reranker-starter`, as int8 ONNX; None without either."""
    known = load_catalogue()
    name = params.reranker or (RERANKER_STARTER if RERANKER_STARTER in known else None)
    if name is None:
        return None

    return _exported_cross_encoder("rerankers", params.base, name)


def exported_verifier(params: Params) -> OnnxCrossEncoder | None:
    """The verifier of `train_reader.verifier`; None without one."""
    name, base = params.train_reader.verifier, params.train_reader.base
    if name is None:
        return None
    return OnnxCrossEncoder(_exported_cross_encoder("verifiers", base, name))


def exported_guard_classifier() -> OnnxCrossEncoder:
    """The classifier of `guard-starter`."""
    return OnnxCrossEncoder(_kept("guards", [BASE, STARTER], export_classifier))


def _exported_cross_encoder(kind: str, base: str, name: str) -> Path:
    def export(folder: Path) -> None:
        from palier.adapters.torch_cross_encoder import export_cross_encoder, starter_cross_encoder

        export_cross_encoder(starter_cross_encoder(resolve(base), resolve(name)), resolve(base), folder)

    return _kept(kind, [base, name], export)


def served_reranker(params: Params) -> OnnxCrossEncoder | None:
    """The reranker that ``params`` would serve with; None where no language reranks, or there is none."""
    folder = exported_reranker(params.train_encoder) if params.retrieval.reranks else None
    return OnnxCrossEncoder(folder) if folder else None


def _kept(kind: str, names: list[str | None], export: Callable[[Path], None]) -> Path:
    """The folder of an earlier export of the same files, or a new one."""
    known = load_catalogue()
    used = [name for name in names if name]
    files = [sorted(known[name].files.items()) for name in used if name in known]
    code = [sha256_file(Path(catalogue.__file__).with_name(name)) for name in EXPORTERS]
    digest = hashlib.sha256(repr((files, code)).encode()).hexdigest()[:12]
    folder = repository_root() / ".palier" / "bench" / kind / f"{'+'.join(used)}-{digest}"
    return made_once(folder, export)


def made_once(folder: Path, export: Callable[[Path], None]) -> Path:
    """``folder``, which ``export`` has filled, by now or before; made beside and renamed, so it is whole or not there.

    One process at a time: who comes second waits, and takes what the first has made. One that is killed holds no lock.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "config.json").is_file():
            tell(f"export {folder.name} to int8")
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            export(partial)
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
    return folder
