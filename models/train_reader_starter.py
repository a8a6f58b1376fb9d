"""Trains the committed starter reader from public question sets; run it to make `models/reader-starter/` again.

    python models/train_reader_starter.py --data DIR --work DIR --out models/reader-starter --minutes 72

The exact commands of the committed weights stand in `models/reader-starter/README.md`.

``DIR`` holds SQuAD 1.1 and 2.0, PIAF and Natural Questions as `.jsonl.gz` rows (`id, lang, title, passage_id, context,
question, answers, answerable`). Titles are split by hash (`palier.domain.title_split`); only training titles are read
into the weights. Each epoch holds every French training row and a fresh sample of the English ones (English is sated
early, French is not), and two kinds of rows without an answer: SQuAD 2.0's, and questions beside another passage of
the same article. With ``--written`` the rows of `reading_examples` stand among those of their language and kind.
Cut the time in half and French loses first. A rerun goes on from the checkpoint in ``--work``, with other options than
`MAY_CHANGE` it is refused.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import hashlib
import json
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from training_rows import FILES, QUESTIONS, READ_BEFORE, TEXTS, WRITTEN, Row, content_of, read_rows, written_rows

from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.onnx_reader import CONFIG, OnnxReader, ReaderConfig
from palier.adapters.reader_adapter import STARTER_FILE, press_reader, starter_reader
from palier.adapters.reader_exam import ExamQuestion, exam_metrics, fitted_threshold, sit_exam
from palier.adapters.reader_export import export_reader, starter_config
from palier.adapters.reader_training import TrainingPlan, refuse_another, train_reader
from palier.adapters.reader_windows import WindowCutter
from palier.adapters.remembered import content_key
from palier.adapters.torch_encoder import load_encoder
from palier.adapters.torch_precision import autocast
from palier.adapters.torch_reader import (
    SpanReader,
    TrainingWindow,
    bare_reader,
    batch_of,
    reader_loss,
    training_windows,
)
from palier.adapters.workspace import write_json
from palier.domain.reading_tasks import ReadingTask
from palier.domain.spans import occurrences

MAX_TOKENS = 224
FOREIGN_SHARE = {"fr": 0.2, "en": 0.15}  # rows beside a passage without the answer, per answerable row
MASK_ID = 103
SERVED_TOKENS = 320
WEIGHTS = "weights.safetensors"
MAY_CHANGE = {
    *("data", "work", "out", "minutes", "steps", "threads", "check_steps"),
    *("rank", "kind_weight", "finish_only", "threshold_only"),
}
"""Options that a run may be taken up with in another form: where things lie (the data are known by their hash), when
it ends, what is told meanwhile, and what is made of its weights afterwards."""


@dataclass(frozen=True)
class Pools:
    """Training windows by what they teach."""

    french: Sequence[TrainingWindow]
    english: Sequence[TrainingWindow]
    unanswerable: dict[str, Sequence[TrainingWindow]]
    foreign: dict[str, Sequence[TrainingWindow]]
    foreign_share: float
    """Of FOREIGN_SHARE."""
    unanswerable_share: float
    """Rows of an epoch that were asked so that the passage does not answer them, per answerable row of the language."""

    def epoch(self, n_rows: dict[str, int], seed: int, number: int) -> list[TrainingWindow]:
        """A sample of ``n_rows`` answerable rows per language, with its share of rows without an answer."""
        rng = np.random.default_rng((seed, 2, number))
        return [
            *_sample(self.french, n_rows["fr"], rng),
            *_sample(self.english, n_rows["en"], rng),
            *_sample(self.unanswerable["en"], int(self.unanswerable_share * n_rows["en"]), rng),
            *_sample(self.unanswerable["fr"], int(self.unanswerable_share * n_rows["fr"]), rng),
            *_sample(self.foreign["fr"], int(self.foreign_share * FOREIGN_SHARE["fr"] * n_rows["fr"]), rng),
            *_sample(self.foreign["en"], int(self.foreign_share * FOREIGN_SHARE["en"] * n_rows["en"]), rng),
        ]


def _sample(rows: Sequence[TrainingWindow], n: int, rng: np.random.Generator) -> list[TrainingWindow]:
    return [rows[i] for i in rng.permutation(len(rows))[:n]]


def example_of(row: Row, *, with_title: bool) -> ReadingTask:
    """A row as an example; of several answers the one that most annotators gave, the shorter one on a tie."""
    content = content_of(row, with_title=with_title)
    answers = row["answers"]
    if not answers:
        return ReadingTask(row["question"], content)
    offset = len(content) - len(row["context"])
    for answer in sorted(set(answers), key=lambda text: (-answers.count(text), len(text))):
        spans = occurrences(row["context"], answer)
        if spans:
            return ReadingTask(row["question"], content, tuple((s + offset, e + offset) for s, e in spans))
    return ReadingTask(row["question"], content)


def foreign_examples(rows: Sequence[Row], rng: np.random.Generator) -> list[ReadingTask]:
    """Each question beside the passage of its article that shares most words with it and lacks its answers."""
    by_title: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_title[row["title"]][row["passage_id"]] = row
    examples = []
    for row in rows:
        asked = set(row["question"].casefold().split())
        others = [
            other
            for other in by_title[row["title"]].values()
            if other["passage_id"] != row["passage_id"]
            and not any(answer.casefold() in other["context"].casefold() for answer in row["answers"])
        ]
        if others and row["answers"]:
            best = max(others, key=lambda other: len(asked & set(other["context"].casefold().split())))
            examples.append(ReadingTask(row["question"], content_of(best, with_title=rng.random() < 0.5)))
    return examples


def make_pools(
    rows: Sequence[Row],
    cutter: WindowCutter,
    rng: np.random.Generator,
    unanswerable_share: float = 0.0,
    foreign_share: float = 1.0,
) -> Pools:
    """Windows of all rows; an answerable row whose answer falls out of the window is dropped."""

    def windows(examples: Sequence[ReadingTask], kind: int | None) -> list[TrainingWindow]:
        found = [window for example in examples for window in training_windows(cutter, example)[:1]]
        return [window for window in found if kind is None or (window.kind == 0) == (kind == 0)]

    def examples(lang: str, *, answerable: bool) -> list[ReadingTask]:
        chosen = [row for row in rows if row["lang"] == lang and bool(row["answers"]) == answerable]
        return [example_of(row, with_title=rng.random() < 0.5) for row in chosen]

    return Pools(
        french=windows(examples("fr", answerable=True), 1),
        english=windows(examples("en", answerable=True), 1),
        unanswerable={lang: windows(examples(lang, answerable=False), 0) for lang in ("en", "fr")},
        foreign={
            lang: windows(foreign_examples([row for row in rows if row["lang"] == lang], rng), 0)
            for lang in ("en", "fr")
        },
        foreign_share=foreign_share,
        unanswerable_share=unanswerable_share,
    )


def validation_losses(model: SpanReader, rows: dict[str, Sequence[TrainingWindow]]) -> dict[str, float]:
    """Mean loss per group of validation windows, without dropout; the model is left in the mode it was in."""
    was_training, losses = model.training, {}
    model.eval()
    for name, windows in rows.items():
        by_length = sorted(windows, key=lambda row: len(row.window.ids))
        batches = [batch_of(by_length[i : i + 32]) for i in range(0, len(by_length), 32)]
        with torch.inference_mode(), autocast():
            sums = [reader_loss(model(**b.inputs), b).item() * len(b.kinds) for b in batches]
        losses[name] = sum(sums) / len(by_length)
    model.train(was_training)
    return losses


def validation_exam(rows: Sequence[Row], rng: np.random.Generator) -> list[ExamQuestion]:
    """Each validation question beside its passage and another of the same article; a tenth loses its own passage."""
    exam = []
    for row in rows:
        content = content_of(row, with_title=True)
        others = [r for r in rows if r["title"] == row["title"] and r["passage_id"] != row["passage_id"]]
        other = [content_of(others[int(rng.integers(len(others)))], with_title=True)] if others else []
        if other and rng.random() < 0.1:
            exam.append(ExamQuestion(row["question"], row["lang"], (), tuple(other)))
        else:
            exam.append(ExamQuestion(row["question"], row["lang"], tuple(row["answers"]), (content, *other)))
    return exam


def finish(model: SpanReader, base: Path, rows: Sequence[Row], args: argparse.Namespace) -> dict[str, float]:
    """Press the weights, and choose the threshold with what comes back from the pressed file, as `choose_threshold`."""
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(press_reader(model, base, args.rank), args.out / STARTER_FILE)
    config = ReaderConfig(max_tokens=SERVED_TOKENS, kind_weight=args.kind_weight)
    write_json(args.out / CONFIG, config.model_dump())
    return choose_threshold(base, args.out, rows, args.seed)


def choose_threshold(base: Path, out: Path, rows: Sequence[Row], seed: int) -> dict[str, float]:
    """Choose the threshold of the pressed weights in ``out`` as int8, and write it into their config.

    All ``rows`` are asked. What comes back are the metrics of the validation exam, once more without a threshold where
    F1 is concerned.
    """
    rng = np.random.default_rng((seed, 3))
    exam = validation_exam([rows[i] for i in rng.permutation(len(rows))], rng)
    config = starter_config(out)
    with tempfile.TemporaryDirectory() as folder:
        export_reader(starter_reader(base, out, seed), base, Path(folder), config)
        answers = sit_exam(OnnxReader(Path(folder)), exam)
    threshold = fitted_threshold(exam, answers)
    write_json(out / CONFIG, config.model_copy(update={"null_threshold": round(threshold, 4)}).model_dump())
    always = exam_metrics(exam, answers, -math.inf)
    return exam_metrics(exam, answers, threshold) | {
        f"no_threshold.{name}": value for name, value in always.items() if name.startswith("f1")
    }


def train(base: Path, args: argparse.Namespace) -> SpanReader:
    """The trained reader; weights of each epoch and the checkpoint lie in ``args.work``."""
    checkpoint = args.work / "checkpoint.safetensors"
    refuse_another(checkpoint, facts_of(args))
    cutter = WindowCutter(base, MAX_TOKENS)
    rng = np.random.default_rng(args.seed)
    rows = [row for row in read_rows(args.data, ["train"]) if place_of(row["title"]) < args.titles_share]
    if args.written is not None:
        rows += written_rows(args.data, args.written or READ_BEFORE)
    pools = make_pools(rows, cutter, rng, args.unanswerable_share, args.foreign_share)
    held_out = make_pools(read_rows(args.data, ["validation"]), cutter, rng)
    checks: dict[str, Sequence[TrainingWindow]] = {
        "fr": held_out.french,
        "en": _sample(held_out.english, 300, rng),
        "none_en": _sample(held_out.unanswerable["en"], 150, rng),
        "none_fr": _sample(held_out.foreign["fr"], 150, rng),
    }
    n_rows = {"fr": args.french_rows, "en": args.english_rows}

    def after_epoch(epoch: int, model: SpanReader) -> None:
        losses = {name: round(loss, 3) for name, loss in validation_losses(model, checks).items()}
        print(json.dumps({"epoch": epoch + 1, "validation_loss": losses}), flush=True)
        save_file(model.state_dict(), args.work / f"weights-{epoch + 1}.safetensors")

    def progress(done: int, _total: int, what: str) -> None:
        if done % args.check_steps == 0:
            losses = {name: round(loss, 3) for name, loss in validation_losses(model, checks).items()}
            print(json.dumps({"step": done, "validation_loss": losses}), flush=True)
        if done % 50 == 0:
            print(f"step {done}: {what}", file=sys.stderr, flush=True)

    model = bare_reader(base, args.seed, dropout=args.dropout)
    if args.from_encoder:
        encoder = load_encoder(base, resolve("encoder-starter"))[0].model.state_dict()
        model.encoder.load_state_dict({name: encoder[name] for name in model.encoder.state_dict()})
    if args.start:
        model.load_state_dict(average(args.start))
        save_file(model.state_dict(), args.work / "start.safetensors")
    plan = TrainingPlan(
        learning_rate=args.learning_rate,
        batch_size=16,
        n_steps=args.steps,
        seed=args.seed,
        mask_id=MASK_ID,
        mask_share=args.mask_share,
        max_seconds=args.minutes * 60,
        n_threads=args.threads,
    )
    position = train_reader(
        model, lambda epoch: pools.epoch(n_rows, args.seed, epoch), plan, checkpoint, progress, after_epoch
    )
    save_file(model.state_dict(), args.work / WEIGHTS)
    print(json.dumps({"steps": position.step, "seconds": round(position.seconds)}), flush=True)
    return model


def facts_of(args: argparse.Namespace) -> dict[str, object]:
    """What the steps of a run follow from: all options but those of MAY_CHANGE, with files by their hashes."""
    texts = [] if args.written is None else args.written or READ_BEFORE
    read = [*(args.data / name for name in FILES), *(WRITTEN / name for name in texts)]
    encoder = resolve("encoder-starter") / STARTER_FILE if args.from_encoder else None
    return {name: value for name, value in vars(args).items() if name not in MAY_CHANGE} | {
        "data": content_key(*map(sha256_file, read))[:12],
        "start": [sha256_file(path)[:12] for path in args.start or ()],
        "from_encoder": sha256_file(encoder)[:12] if encoder else None,
    }


def place_of(title: str) -> float:
    """0..1 by chance, but the same for a title always: a smaller share of titles is part of a larger one."""
    return int(hashlib.sha256(f"learning curve: {title}".encode()).hexdigest()[:8], 16) / 16**8


def average(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of several weights of one run: it forgets less than the last ones (Wortsman et al. 2022)."""
    states = [load_file(path) for path in files]
    return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="adapter.safetensors and config.json go here")
    parser.add_argument(
        "--work", type=Path, default=Path("build/reader-starter"), help="checkpoint and full weights; a rerun goes on"
    )
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--steps", type=int, default=100_000, help="end after this many steps, if sooner")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--french-rows", type=int, default=5000, help="answerable ones, of each epoch")
    parser.add_argument("--english-rows", type=int, default=2400)
    parser.add_argument(
        "--unanswerable-share", type=float, default=0.2, help="rows without an answer, per answerable one"
    )
    parser.add_argument("--foreign-share", type=float, default=1.0, help="of rows beside a passage without the answer")
    parser.add_argument("--titles-share", type=float, default=1.0, help="of training titles, for a learning curve")
    parser.add_argument(
        "--written",
        nargs="*",
        choices=[*TEXTS, *QUESTIONS],
        help="read `reading_examples` too: these texts, or those of steps 8 to 10",
    )
    parser.add_argument("--mask-share", type=float, default=0.06, help="passage tokens hidden in training")
    parser.add_argument("--start", type=Path, nargs="*", help="begin from the average of these weights")
    parser.add_argument("--dropout", type=float, default=0.1, help="of states, in training")
    parser.add_argument("--from-encoder", action="store_true", help="begin from the starter encoder, not the base")
    parser.add_argument("--check-steps", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rank", type=int, default=64, help="of each matrix's change; 384 keeps all of it")
    parser.add_argument("--kind-weight", type=float, default=0.5, help="of the kind head, in the margin")
    parser.add_argument("--finish-only", action="store_true", help="press the weights of --start, or those in --work")
    parser.add_argument("--threshold-only", action="store_true", help="choose it again for the weights in --out")
    args = parser.parse_args()
    base = resolve("all-minilm-l6-v2")
    held_out = read_rows(args.data, ["validation"])
    if args.threshold_only:
        metrics = choose_threshold(base, args.out, held_out, args.seed)
    else:
        metrics = finish(trained_reader(base, args), base, held_out, args)
    print(json.dumps({name: round(value, 4) for name, value in metrics.items()}, indent=1), flush=True)


def trained_reader(base: Path, args: argparse.Namespace) -> SpanReader:
    """What ``args`` ask for: trained now, or earlier (`--finish-only`)."""
    if args.finish_only:
        model = bare_reader(base, args.seed)
        model.load_state_dict(average(args.start or [args.work / WEIGHTS]))
        return model
    return train(base, args)


if __name__ == "__main__":
    main()
