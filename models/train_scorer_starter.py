"""Makes the committed scorer from public question sets; run it to make `models/scorer-starter/` again.

    python models/train_scorer_starter.py --data DIR --encoder FOLDER --reader FOLDER --verifier FOLDER \
        --out models/scorer-starter

The reader (``--reader``: the starter as int8 ONNX, as ``--encoder``) answers questions of validation articles, which it
has not seen in training; test articles are not read. Two heads come out for answers and two for abstentions: of a
reader, and of anybody. Make it again when the starter reader changes: the heads weigh that reader's logits.
"""

# ruff: noqa: T201 (a script prints)

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from training_rows import read_rows

from palier.adapters.onnx_cross_encoder import cross_encoder_in
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.recent_vectors import RecentVectors
from palier.adapters.scorer_rows import ScoredRow, answered_rows
from palier.adapters.scorer_training import fit_head
from palier.adapters.workspace import write_text
from palier.domain.scoring import AGREEMENT, ANY_RUNG, LogisticHead, ScorerWeights, as_outsider
from palier.params import load_params
from palier.settings import repository_root

READER = "reader"


def head_of(rows: Sequence[ScoredRow], answered: bool, rung: str, regularisation: float) -> LogisticHead:
    """The head of a reader, fitted on each answer beside the others' and alone; ANY_RUNG's sees no signal of ours."""
    own = [row for row in rows if row.answered == answered]
    vectors = np.array([row.vector for row in own])
    quality = np.array([row.quality for row in own])
    if rung == ANY_RUNG:
        return fit_head(as_outsider(vectors), quality, regularisation)
    alone = vectors.copy()
    alone[:, -len(AGREEMENT) :] = 0.0
    return fit_head(np.concatenate([vectors, alone]), np.tile(quality, 2), 2 * regularisation)


def sample(rows: Sequence[dict[str, Any]], n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """``n`` questions of each language, each with the name of its domain."""
    found = []
    for lang in ("en", "fr"):
        own = [row for row in rows if row["lang"] == lang and row["question"].strip()]
        found += [own[i] | {"domain": "public"} for i in rng.permutation(len(own))[:n]]
    return found


def tell(done: int, total: int) -> None:
    if done % 100 == 0:
        print(f"{done} answers of about {total * 5 // 4}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="the starter encoder as int8 ONNX")
    parser.add_argument("--reader", type=Path, required=True, help="the starter reader as int8 ONNX")
    parser.add_argument("--verifier", type=Path, required=True, help="the starter verifier as int8 ONNX")
    parser.add_argument("--out", type=Path, required=True, help="scorer.json goes here")
    parser.add_argument("--questions", type=int, default=1000, help="of each language")
    parser.add_argument("--regularisation", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    questions = sample(read_rows(args.data, ["validation"]), args.questions, np.random.default_rng(args.seed))
    encoder = RecentVectors(OnnxEncoder(args.encoder), size=100_000)
    params = load_params(repository_root() / "params.yaml")
    rows = answered_rows(questions, params, OnnxReader(args.reader), encoder, cross_encoder_in(args.verifier), tell)
    heads = {
        answered: {rung: head_of(rows, answered, rung, args.regularisation) for rung in (READER, ANY_RUNG)}
        for answered in (True, False)
    }
    weights = ScorerWeights(answered=heads[True], abstained=heads[False])
    write_text(args.out / "scorer.json", weights.model_dump_json(indent=1) + "\n")
    print(f"{len(rows)} answers, mean quality {np.mean([row.quality for row in rows]):.3f}")


if __name__ == "__main__":
    main()
