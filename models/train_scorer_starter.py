"""Makes the committed scorer from questions that no reader has read; run it to make `models/scorer-starter/` again.

    python models/train_scorer_starter.py --data DIR --encoder FOLDER --reader FOLDER --verifier FOLDER --work DIR \
        --out models/scorer-starter

The reader (``--reader``: the starter as int8 ONNX, as ``--encoder``) answers questions of validation articles and of
the texts of `reading_examples` that no reader has read; test articles are not read. French questions without an
answer are left out: no public French set has them, and how often a silence is right decides how silences are scored.
Two heads come out for answers and two for abstentions: of a reader, and of anybody. Make it again when the starter
reader changes: the heads weigh that reader's logits.

What the texts teach a reader's heads is written too (`texts.json`): heads that have seen no public question, for
`bench scorer`. From these the reader's heads are drawn to the public answers, which know how hard people's questions
are. Printed is how good such heads are on each public set where they are drawn to the others alone: a domain that they
have not seen. Answers are kept in ``--work``, a file for each part under a hash of all that they follow from, and a
rerun goes on; with ``--parts`` only those are answered, so that two parts may be answered side by side.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from training_rows import FILES, UNREAD, WRITTEN, read_rows

from palier.adapters.catalogue import sha256_file
from palier.adapters.onnx_cross_encoder import cross_encoder_in
from palier.adapters.onnx_encoder import ENCODER_FILES, OnnxEncoder
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.reading_texts import read_texts
from palier.adapters.recent_vectors import RecentVectors
from palier.adapters.remembered import content_key
from palier.adapters.scorer_rows import ScoredRow, answered_rows
from palier.adapters.scorer_training import fit_head
from palier.adapters.workspace import write_text
from palier.domain.scoring import AGREEMENT, ALL_FEATURES, ANY_RUNG, LogisticHead, ScorerWeights, as_outsider
from palier.params import Params, ReaderRung, load_params
from palier.settings import repository_root
from palier.stages.train_scorer import scorer_metrics

PUBLIC, READER = "public", "reader"
TEXTS_ALONE, KEPT = "texts.json", "scorer.json"
HELD = {TEXTS_ALONE: 120.0, READER: 100.0, ANY_RUNG: 60.0}
"""Regularisation: of what the texts teach, of the way from there to public answers, and of anybody's heads, which learn
from public answers alone (texts make them no better)."""

Heads = dict[bool, LogisticHead]
"""For answers (True) and abstentions (False)."""


@dataclass(frozen=True)
class Answers:
    """Answers as the scorer sees them, one row each: (n, d) ``vectors`` and columns of length n."""

    vectors: NDArray[np.float64]
    answered: NDArray[np.bool_]
    quality: NDArray[np.float64]
    domain: NDArray[np.str_]

    @classmethod
    def of(cls, rows: Sequence[ScoredRow]) -> Self:
        return cls(
            np.array([row.vector for row in rows]),
            np.array([row.answered for row in rows]),
            np.array([row.quality for row in rows]),
            np.array([row.domain for row in rows]),
        )

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def where(self, chosen: NDArray[np.bool_]) -> "Answers":
        return Answers(*(column[chosen] for column in vars(self).values()))


def heads_of(rows: Answers, regularisation: float, priors: Mapping[bool, LogisticHead] | None = None) -> Heads:
    """A reader's heads, fitted on each answer beside the others' and alone, drawn from ``priors``."""
    heads = {}
    for spoke in (True, False):
        own = rows.where(rows.answered == spoke)
        alone = own.vectors.copy()
        alone[:, -len(AGREEMENT) :] = 0.0
        both, quality = np.concatenate([own.vectors, alone]), np.tile(own.quality, 2)
        heads[spoke] = fit_head(both, quality, 2 * regularisation, priors[spoke] if priors else None)
    return heads


def heads_of_anybody(rows: Answers) -> Heads:
    """ANY_RUNG's heads, which see no signal of ours."""
    found = {}
    for spoke in (True, False):
        own = rows.where(rows.answered == spoke)
        found[spoke] = fit_head(as_outsider(own.vectors), own.quality, HELD[ANY_RUNG])
    return found


def questions_of(part: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows with the name of their domain: ``args.questions`` of each language, or ``args.text_questions`` of a text."""
    rng = np.random.default_rng(args.seed)
    if part != PUBLIC:
        own = [asdict(row) | {"domain": part} for row in read_texts(WRITTEN / part, UNREAD[part])]
        drawn = [own[i] for i in rng.permutation(len(own))[: args.text_questions]]
        return [row for row in drawn if row["answers"] or row["lang"] == "en"]
    rows, found = read_rows(args.data, ["validation"]), []
    for lang in ("en", "fr"):
        own = [row for row in rows if row["lang"] == lang and row["question"].strip()]
        found += [own[i] for i in rng.permutation(len(own))[: args.questions]]
    return found


def answers_of(part: str, args: argparse.Namespace) -> Answers:
    """What the reader says to the questions of ``part``: now, or when it was asked before."""
    params = load_params(repository_root() / "params.yaml")
    kept = kept_at(part, args, params)
    if not kept.is_file():
        encoder = RecentVectors(OnnxEncoder(args.encoder), size=100_000)
        reader, verifier = OnnxReader(args.reader), cross_encoder_in(args.verifier)
        rows = Answers.of(answered_rows(questions_of(part, args), params, reader, encoder, verifier, tell))
        unfinished = kept.with_suffix(".partial.npz")
        np.savez_compressed(unfinished, **vars(rows))
        unfinished.replace(kept)
    with np.load(kept) as stored:
        return Answers(**stored)


def kept_at(part: str, args: argparse.Namespace, params: Params) -> Path:
    """Where answers to ``part`` lie, under a hash of models, questions, and what of ``params`` decides them."""
    folders = (args.reader, args.encoder, args.verifier)
    models = [folder / name for folder in folders for name in ENCODER_FILES]  # all three are of files so named
    texts = [args.data / name for name in FILES] if part == PUBLIC else [WRITTEN / part]
    key = content_key(
        [sha256_file(path) if path.is_file() else None for path in models],
        [sha256_file(path) for path in texts],
        [args.questions if part == PUBLIC else args.text_questions, args.seed],
        [
            [name, rung.passages, rung.retrieval_weight]
            for name, rung in params.ladder.rungs.items()
            if isinstance(rung, ReaderRung)
        ],
        dict(params.retrieval.dense_weight),
        ALL_FEATURES,
    )
    return args.work / f"{Path(part).stem}-{key[:12]}.npz"


def tell(done: int, total: int) -> None:
    if done % 100 == 0:
        print(f"{done} answers of about {total * 5 // 4}", flush=True)


def left_out(texts: Mapping[bool, LogisticHead], public: Answers) -> dict[str, dict[str, float]]:
    """AUC and calibration error on each public set, of heads that are drawn from ``texts`` to the other sets."""
    sets = np.array([name.rstrip("0123456789") for name, *_ in (domain.split("_") for domain in public.domain)])
    found = {}
    for name in np.unique(sets).tolist():
        heads, own = heads_of(public.where(sets != name), HELD[READER], texts), public.where(sets == name)
        pairs = zip(own.answered.tolist(), own.vectors, strict=True)
        scores = np.array([heads[spoke].predict(vector) for spoke, vector in pairs])
        metrics = scorer_metrics(scores, own.quality)
        found[name] = {"n": len(scores)} | {metric: round(value, 3) for metric, value in metrics.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="the starter encoder as int8 ONNX")
    parser.add_argument("--reader", type=Path, required=True, help="the starter reader as int8 ONNX")
    parser.add_argument("--verifier", type=Path, required=True, help="the starter verifier as int8 ONNX")
    parser.add_argument("--work", type=Path, required=True, help="answers are kept here; a rerun goes on")
    parser.add_argument("--out", type=Path, required=True, help="scorer.json and texts.json go here")
    parser.add_argument("--questions", type=int, default=1000, help="of validation articles, of each language")
    parser.add_argument("--text-questions", type=int, default=2000, help="of each text")
    parser.add_argument("--parts", nargs="+", choices=(*UNREAD, PUBLIC), help="answer these only, and fit nothing")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    answers = {part: answers_of(part, args) for part in args.parts or (*UNREAD, PUBLIC)}
    if args.parts:
        return
    texts = heads_of(Answers.together([answers[part] for part in UNREAD]), HELD[TEXTS_ALONE])
    print(json.dumps(left_out(texts, answers[PUBLIC]), indent=1), flush=True)
    write(args.out / TEXTS_ALONE, {READER: texts})
    kept = {READER: heads_of(answers[PUBLIC], HELD[READER], texts), ANY_RUNG: heads_of_anybody(answers[PUBLIC])}
    write(args.out / KEPT, kept)


def write(path: Path, heads: Mapping[str, Heads]) -> None:
    answered, abstained = ({rung: both[spoke] for rung, both in heads.items()} for spoke in (True, False))
    weights = ScorerWeights(answered=answered, abstained=abstained)
    write_text(path, weights.model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    main()
