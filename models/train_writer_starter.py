"""Trains the committed starter writer from public question sets; run it to make `models/writer-starter/` again.

    python models/train_writer_starter.py --data DIR --work DIR --out models/writer-starter --minutes 33

The exact command of the committed weights stands in `models/writer-starter/README.md`.

``DIR`` is the one of `train_reader_starter.py`, and so is the split by title. Each epoch holds a fresh sample of the
rows of both languages, half of them of `reading_examples`, and rows without an answer: those written so, SQuAD 2.0's,
and questions beside another passage of the same article. A reader points to the evidence of all of them, and suggests,
as the starter reader will when serving; what is measured between steps are validation questions, to which that one
points. A rerun goes on from the checkpoint in ``--work``, with other options than `MAY_CHANGE` it is refused.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from training_rows import FILES, QUESTIONS, TEXTS, WRITTEN, Row, content_of, read_rows, written_rows

from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.reader_adapter import starter_reader
from palier.adapters.reader_export import export_reader, starter_config
from palier.adapters.reader_training import refuse_another
from palier.adapters.remembered import content_key
from palier.adapters.workspace import write_json
from palier.adapters.writer_adapter import STARTER_FILE, gguf_of, learn_on, learnt_change, load_base, with_lora
from palier.adapters.writer_exam import exam_metrics, replies_of_llama, replies_of_torch, smallest_good
from palier.adapters.writer_export import QUANTISATIONS, export_writer
from palier.adapters.writer_rows import RowMaker, WriterRow
from palier.adapters.writer_rung import CONFIG, LlamaCpp, WriterConfig, point
from palier.adapters.writer_training import WriterPlan, train_writer
from palier.domain.evidence import Pointed
from palier.domain.spans import occurrences
from palier.domain.writing_tasks import Asked, Exercises, WritingTask, exam_task

BASE = "smollm2-135m-instruct"
MAX_WORDS = 80
MAX_TOKENS = 320
MAX_NEW_TOKENS = 40
TWO_PASSAGES = 0.25  # share of rows that have another passage of the article beside their own
MAY_CHANGE = {
    *("data", "work", "out", "minutes", "steps", "threads", "report_steps"),
    *("check_steps", "check_rows", "silent_rows", "finish_only", "adapter"),
}
"""Options that a run may be taken up with in another form: where things lie (the data are known by their hash), when
it ends, and what is told and measured of it."""


@dataclass(frozen=True)
class Articles:
    """Rows with the other passages of their article; what exercises are made from."""

    rows: Sequence[Row]
    passages: dict[str, dict[str, Row]]
    written: Sequence[Row] = ()
    written_share: float = 0.0

    def of(self, lang: str, *, answerable: bool) -> list[Row]:
        return _of(self.rows, lang, answerable=answerable)

    def sample(self, lang: str, n: int, rng: np.random.Generator, *, answerable: bool) -> list[Row]:
        """``n`` rows, or as many as there are: a share of them written ones, more where others are few."""
        others = _sample(self.of(lang, answerable=answerable), round(n * (1 - self.written_share)), rng)
        written = _of(self.written, lang, answerable=answerable)
        return others + _sample(written, n - len(others), rng)

    def foreign(self, row: Row) -> str | None:
        """The passage of the row's article that shares most words with its question and lacks its answers."""
        asked = set(row["question"].casefold().split())
        others = [
            other
            for other in self.passages[row["title"]].values()
            if other["passage_id"] != row["passage_id"]
            and not any(answer.casefold() in other["context"].casefold() for answer in row["answers"])
        ]
        best = max(others, key=lambda o: len(asked & set(o["context"].casefold().split())), default=None)
        return content_of(best, with_title=True) if best else None


def articles_of(rows: Sequence[Row], written: Sequence[Row] = (), written_share: float = 0.0) -> Articles:
    """``rows`` and ``written`` ones by article."""
    passages: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in (*rows, *written):
        passages[row["title"]][row["passage_id"]] = row
    return Articles(rows, passages, written, written_share)


def _of(rows: Sequence[Row], lang: str, *, answerable: bool) -> list[Row]:
    return [row for row in rows if row["lang"] == lang and bool(row["answers"]) == answerable]


def asked_of(row: Row) -> Asked:
    """A row's question; of its answers, the one that most annotators gave comes first, the shorter one on a tie."""
    answers = row["answers"]
    return Asked(
        row["question"], row["lang"], tuple(sorted(set(answers), key=lambda text: (-answers.count(text), len(text))))
    )


def answered(articles: Articles, row: Row, exercises: Exercises) -> WritingTask | None:
    """A row beside its passage, at times with another of its article before or after."""
    rng = exercises.rng
    asked, own = asked_of(row), content_of(row, with_title=True)
    offset = len(own) - len(row["context"])
    other = articles.foreign(row) if rng.random() < TWO_PASSAGES else None
    contents = [own] if other is None else [own, other] if rng.random() < 0.5 else [other, own]
    for answer in asked.answers:
        spans = occurrences(row["context"], answer)
        if spans:
            places = [Pointed(contents.index(own), start + offset, end + offset) for start, end in spans[:1]]
            said = Asked(asked.question, asked.lang, (answer, *asked.answers))
            return exercises.answered(said, contents, places)
    return None


def epoch_tasks(articles: Articles, args: argparse.Namespace, exercises: Exercises) -> list[WritingTask]:
    """Exercises of one epoch: a sample of each language, and rows without an answer."""
    found: list[WritingTask | None] = []
    for lang, n in (("fr", args.french_rows), ("en", args.english_rows)):
        chosen = articles.sample(lang, n, exercises.rng, answerable=True)
        found += [answered(articles, row, exercises) for row in chosen]
        for row in _sample(chosen, int(args.foreign_share * n), exercises.rng):
            other = articles.foreign(row)
            found.append(exercises.silent(asked_of(row), [other]) if other else None)
        silent = articles.sample(lang, int(args.unanswerable_share * n), exercises.rng, answerable=False)
        found += [exercises.silent(asked_of(row), [content_of(row, with_title=True)]) for row in silent]
    return [task for task in found if task is not None]


def _sample(rows: Sequence[Row], n: int, rng: np.random.Generator) -> list[Row]:
    return [rows[i] for i in rng.permutation(len(rows))[:n]]


def validation_tasks(
    articles: Articles, reader: OnnxReader, n: int, n_silent: int, rng: np.random.Generator
) -> list[WritingTask]:
    """``n`` questions of each language with what the reader points to in their passage, ``n_silent`` without answer."""
    asked: list[tuple[Asked, str | None]] = []
    for lang in ("en", "fr"):
        chosen = _sample(articles.of(lang, answerable=True), n, rng)
        asked += [(asked_of(row), content_of(row, with_title=True)) for row in chosen]
        silent = articles.of(lang, answerable=False) or articles.of(lang, answerable=True)
        for row in _sample(silent, n_silent, rng):
            content = articles.foreign(row) if row["answers"] else content_of(row, with_title=True)
            asked.append((Asked(row["question"], row["lang"]), content))
    return [exam_task(one, [content], partial(point, reader), MAX_WORDS) for one, content in asked if content]


def exported_reader(work: Path, starter: Path, seed: int) -> OnnxReader:
    """The reader of the pressed weights in ``starter`` as int8, which ``work`` keeps under their hash."""
    folder = work / f"reader-{hash_of(starter)}"
    if not (folder / CONFIG).is_file():  # it is written last
        base = resolve("all-minilm-l6-v2")
        export_reader(starter_reader(base, starter, seed), base, folder, starter_config(starter))
    return OnnxReader(folder)


def hash_of(starter: Path) -> str:
    """Of a starter's pressed weights and config."""
    return content_key(*(sha256_file(starter / name) for name in (STARTER_FILE, CONFIG)))[:12]


def facts_of(args: argparse.Namespace) -> dict[str, object]:
    """What the steps of a run follow from: all options but those of MAY_CHANGE, with files by their hashes."""
    read = [*(args.data / name for name in FILES), *(WRITTEN / name for name in args.written)]
    return {name: value for name, value in vars(args).items() if name not in MAY_CHANGE} | {
        "data": content_key(*map(sha256_file, read))[:12],
        "start": sha256_file(args.start)[:12] if args.start else None,
        "pointing_reader": hash_of(args.pointing_reader),
    }


def train(gguf: Path, args: argparse.Namespace) -> None:
    """Train, leaving the change in ``args.work``: the last one, and one per check."""
    checkpoint = args.work / "checkpoint.safetensors"
    refuse_another(checkpoint, facts_of(args))
    rows = RowMaker(gguf, MAX_TOKENS)
    written = written_rows(args.data, args.written)
    articles = articles_of(read_rows(args.data, ["train"]), written, args.written_share)
    exam = held_out(args)
    model = with_lora(load_base(gguf), args.rank, args.seed)
    if args.start:
        learn_on(model, load_file(args.start))
    reader = exported_reader(args.work, args.pointing_reader, args.seed)

    def epoch_rows(epoch: int) -> list[WriterRow]:
        exercises = Exercises(partial(point, reader), MAX_WORDS, np.random.default_rng((args.seed, 2, epoch)))
        return rows.rows(epoch_tasks(articles, args, exercises))

    def check(step: int) -> None:
        if step % args.check_steps:
            return
        save_file(learnt_change(model), args.work / f"adapter-{step}.safetensors")
        replies = replies_of_torch(model, rows, exam, MAX_NEW_TOKENS)
        print(json.dumps({"step": step, **_rounded(exam_metrics(exam, replies))}), flush=True)

    def progress(done: int, _total: int, what: str) -> None:
        if done % args.report_steps == 0:
            print(f"step {done}: {what}", file=sys.stderr, flush=True)

    plan = WriterPlan(
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        n_steps=args.steps,
        seed=args.seed,
        max_seconds=args.minutes * 60,
        n_threads=args.threads,
    )
    position = train_writer(model, epoch_rows, plan, checkpoint, progress, check)
    save_file(learnt_change(model), args.work / STARTER_FILE)
    print(json.dumps({"steps": position.step, "seconds": round(position.seconds)}), flush=True)


def held_out(args: argparse.Namespace) -> list[WritingTask]:
    """The validation exercises; the same ones in every run of a seed."""
    articles = articles_of(read_rows(args.data, ["validation"]))
    rng = np.random.default_rng((args.seed, 3))
    reader = exported_reader(args.work, resolve("reader-starter"), args.seed)
    return validation_tasks(articles, reader, args.check_rows, args.silent_rows, rng)


def finish(gguf: Path, args: argparse.Namespace) -> None:
    """Write the change and its config to ``args.out``, with the rounding that llama.cpp answers well enough with."""
    change = load_file(args.adapter or args.work / STARTER_FILE)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(change, args.out / STARTER_FILE)
    weights = load_base(gguf, change).state_dict()
    exam, f1 = held_out(args), {}
    for name in QUANTISATIONS:
        target = args.work / f"writer-{name}.gguf"
        export_writer(weights, gguf, target, name)
        metrics = exam_metrics(exam, replies_of_llama(LlamaCpp(target), exam, MAX_NEW_TOKENS))
        f1[name] = metrics["f1"]
        print(json.dumps({"quantisation": name, "bytes": target.stat().st_size, **_rounded(metrics)}), flush=True)
    config = WriterConfig(base=BASE, quantisation=smallest_good(f1), max_words=MAX_WORDS)
    write_json(args.out / CONFIG, config.model_dump())
    hashes = {name: sha256_file(args.out / name) for name in (STARTER_FILE, CONFIG)}
    print(json.dumps({"kept": config.quantisation, "sha256": hashes}, indent=1), flush=True)


def _rounded(metrics: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in metrics.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="adapter.safetensors and config.json go here")
    parser.add_argument("--work", type=Path, required=True, help="checkpoint and GGUF files; a rerun goes on")
    parser.add_argument("--start", type=Path, help="go on from this adapter.safetensors, instead of from the base")
    parser.add_argument(
        "--pointing-reader",
        type=Path,
        default=resolve("reader-starter"),
        help="pressed weights of the reader that points and suggests in training: one that has not read the questions "
        "is wrong as often as it will be in use",
    )
    parser.add_argument("--minutes", type=float, default=33, help="of training; checks and export come on top")
    parser.add_argument("--steps", type=int, default=100_000, help="end after this many steps, if sooner")
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--french-rows", type=int, default=3000, help="answerable ones, of each epoch")
    parser.add_argument("--english-rows", type=int, default=3000)
    parser.add_argument(
        "--written", nargs="+", choices=[*TEXTS, *QUESTIONS], default=(*TEXTS, "piaf.tsv"), help="of `reading_examples`"
    )
    parser.add_argument("--written-share", type=float, default=0.5, help="of the rows of a language: written ones")
    parser.add_argument("--unanswerable-share", type=float, default=0.06, help="rows asked so, per answerable row")
    parser.add_argument("--foreign-share", type=float, default=0.06, help="beside another passage of the article")
    parser.add_argument("--check-steps", type=int, default=80)
    parser.add_argument("--check-rows", type=int, default=60, help="answerable validation questions of each language")
    parser.add_argument("--silent-rows", type=int, default=15, help="unanswerable ones of each language")
    parser.add_argument("--report-steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--finish-only", action="store_true", help="export --adapter, or the last one in --work")
    parser.add_argument("--adapter", type=Path, help="an earlier adapter-STEP.safetensors, for --finish-only")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    gguf = gguf_of(resolve(BASE))
    if not args.finish_only:
        train(gguf, args)
    finish(gguf, args)


if __name__ == "__main__":
    main()
