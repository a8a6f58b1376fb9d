"""The starter reader against another one, such as a plain head on the same base: what the recipe is worth.

`palier bench readers --reader FOLDER --data FILE… --out FILE.json`. ``FOLDER`` holds what
`models/train_reader_starter.py` leaves (`adapter.safetensors`, `config.json`). Both are exported to int8 and read the
gold passage of public questions (`--titles`, else test articles), `--max-questions` of each language; F1 and the rest
of `bench.paired_readers`, each with the paired difference. The plain head of the committed file was made by

    python models/train_reader_starter.py --data DIR --work W --out FOLDER --steps 2577 --minutes 1000 \\
        --learning-rate 1e-4 --english-rows 8000 --mask-share 0 --unanswerable-share 0.194 --foreign-share 0 \\
        --threads 1 --rank 384 --kind-weight 0

which is one span head on MiniLM, three epochs of SQuAD 1.1, Natural Questions, PIAF and 1,500 unanswerable rows of
SQuAD 2.0 on our training titles; its kind head has no say in the margin, and its threshold is chosen on
validation titles.

The price: the other reader's spans are chosen as the product chooses them, by expected F1, and with its scaled int8; a
plain head elsewhere has neither.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.exported_models import exported_reader
from bench.paired_readers import answers_of, compared, read_gold
from bench.report import Report, TitlesAsked, tell
from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.onnx_reader import MODEL, OnnxReader
from palier.errors import InputError
from palier.params import Params, load_params
from palier.settings import repository_root

STARTER_FILE = "adapter.safetensors"  # as in `reader_adapter`, which imports torch


def run(
    data: Sequence[Path],
    out: Path,
    *,
    other_reader: Path | None,
    max_questions: int | None = 300,
    asked_titles: TitlesAsked = "test",
    seed: int = 7,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds; ``max_questions`` of each language are asked.

    Raises InputError for files without a question on such an article, and for a folder without a reader.
    """
    if other_reader is None or not (other_reader / STARTER_FILE).is_file():
        raise InputError(f"No {STARTER_FILE} in {other_reader}: give --reader the --out of train_reader_starter.py.")
    params = load_params(repository_root() / "params.yaml")
    rng = np.random.default_rng(seed)
    report = Report("readers", {"max_questions": max_questions, "asked_titles": asked_titles, "seed": seed})
    exercises = read_gold(data, report, asked_titles, max_questions, rng)
    ours = exported_reader(params)
    with tempfile.TemporaryDirectory() as folder:
        said = {
            "other": answers_of(_exported(params, other_reader, Path(folder)), exercises, "other reader"),
            "starter": answers_of(OnnxReader(ours), exercises, "starter reader"),
        }
    hashes = {"starter": sha256_file(ours / MODEL), "other_adapter": sha256_file(other_reader / STARTER_FILE)}
    results = {"sha256": hashes, "reader": compared(exercises, said, rng)}
    tell(f"{results}")
    return report.write(out, results)


def _exported(params: Params, starter: Path, folder: Path) -> OnnxReader:
    from palier.adapters.reader_adapter import starter_reader
    from palier.adapters.reader_export import export_reader, starter_config

    tell(f"export the reader of {starter}")
    base = resolve(params.train_reader.base)
    export_reader(starter_reader(base, starter, params.seed), base, folder, starter_config(starter))
    return OnnxReader(folder)
