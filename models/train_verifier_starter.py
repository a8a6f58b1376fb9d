"""Trains the committed starter verifier from public question sets; run it to make `models/verifier-starter/` again.

    python models/train_verifier_starter.py --data DIR --reader FOLDER --start FILE --work DIR --out FOLDER

A verifier reads a question, an answer and the words around the answer's quote, and says how good the answer is: the
F1 it would get. It learns from gold answers and from four kinds of wrong or half right ones: what a reader says
(``--reader``: an int8 ONNX folder; one that was trained on the questions makes too few mistakes), what it says of a
passage without the answer, an answer that runs on, and the gold answer of another question about the same passage.
With ``--written`` the reader is asked the questions of `reading_examples`, which it must not have been trained on, and
of the public ones those without an answer. Titles are split by hash (`palier.domain.title_split`); only training
titles are read into the weights.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from cross_encoder_training import WEIGHTS, inputs_of, learning_rate_share, press_weights
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from training_rows import FILES, QUESTIONS, READ_BEFORE, TEXTS, WRITTEN, Row, content_of, read_rows, written_rows

from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.onnx_cross_encoder import CROSS_ENCODER_FILES, PairCutter
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.remembered import content_key
from palier.adapters.torch_cross_encoder import CrossEncoder, bare_cross_encoder, starter_cross_encoder
from palier.adapters.torch_precision import autocast
from palier.adapters.workspace import json_lines, write_text
from palier.domain.claims import claim
from palier.domain.spans import occurrences, plain_answer, quote_around
from palier.domain.text_metrics import best_f1

EXAMPLES, MEAN = "examples.jsonl", "mean.safetensors"
POOL_BATCHES = 50
FOREIGN_SHARE = 0.2
"""Of the questions, how many are also put to another passage of the article."""
SHARES = {"read": 0.6, "unanswerable": 0.5, "gold": 0.4, "other answer": 0.4, "runs on": 0.4, "foreign": 1.0}
"""Of the examples of each kind that are trained on: what a reader says is what will be judged, so most of all that."""


@dataclass(frozen=True, slots=True)
class Example:
    """One answer with its worth (token F1, 0 for any answer to a question without one) and, of a reader, its margin."""

    kind: str
    lang: str
    question: str
    claim: str
    worth: float
    margin: float | None = None


def examples_of(
    rows: Sequence[Row], reader: OnnxReader, rng: np.random.Generator, unread: Sequence[Row] = ()
) -> list[Example]:
    """Right, half right and wrong answers to the questions of ``rows``; of ``unread`` those that need no reader."""
    by_title: dict[str, dict[str, Row]] = defaultdict(dict)
    by_passage: dict[str, list[Row]] = defaultdict(list)
    for row in (*rows, *unread):
        by_title[row["title"]][row["passage_id"]] = row
        if row["answers"]:
            by_passage[row["passage_id"]].append(row)
    found: list[Example] = []
    started = time.monotonic()
    for n, row in enumerate(rows):
        others = [other for passage, other in by_title[row["title"]].items() if passage != row["passage_id"]]
        foreign = others[int(rng.integers(len(others)))] if others and rng.random() < FOREIGN_SHARE else None
        found += _read(row, foreign, reader)
        if row["answers"]:
            found += _made(row, by_passage[row["passage_id"]], rng)
        if (n + 1) % 1000 == 0:
            print(f"{n + 1}/{len(rows)} questions read, {time.monotonic() - started:.0f} s", flush=True)
    for row in unread:
        found += _made(row, by_passage[row["passage_id"]], rng)
    return found


def _read(row: Row, foreign: Row | None, reader: OnnxReader) -> list[Example]:
    """What the reader says of the row's passage, and of another one of its article."""
    contents = [content_of(source, with_title=True) for source in (row, foreign) if source]
    return [
        _example(
            "foreign" if reading.passage_index else ("read" if row["answers"] else "unanswerable"),
            row,
            reading.text,
            (reading.start, reading.end),
            contents[reading.passage_index],
            reading.margin,
        )
        for reading in reader.read(row["question"], contents)
    ]


def _made(row: Row, beside: Sequence[Row], rng: np.random.Generator) -> list[Example]:
    """The gold answer, at times one that runs on, and the answer of another question about the passage."""
    content = content_of(row, with_title=True)
    gold = max(row["answers"], key=row["answers"].count)
    made = []
    spans = occurrences(content, gold)
    if spans:
        start, end = spans[-1]
        made.append(_example("gold", row, gold, (start, end), content))
        if rng.random() < 0.3:
            longer = _run_on(content, start, end, int(rng.integers(3, 25)))
            made.append(_example("runs on", row, plain_answer(content[longer[0] : longer[1]]), longer, content))
    others = [other for other in beside if other["question"] != row["question"]]
    if others:
        other = others[int(rng.integers(len(others)))]["answers"][0]
        spans = occurrences(content, other)
        if spans:
            made.append(_example("other answer", row, other, spans[0], content))
    return made


def _run_on(content: str, start: int, end: int, n_words: int) -> tuple[int, int]:
    """The span with ``n_words`` more words after it, as far as there are any."""
    for _ in range(n_words):
        space = content.find(" ", end + 1)
        if space < 0:
            return start, len(content)
        end = space
    return start, end


def _example(
    kind: str, row: Row, text: str, span: tuple[int, int], content: str, margin: float | None = None
) -> Example:
    quote = quote_around(content, *span)
    worth = best_f1(text, row["answers"], row["lang"]) if row["answers"] and text else 0.0
    return Example(
        kind, row["lang"], row["question"], claim(text, quote, content, content.partition("\n")[0]), worth, margin
    )


def pair_of(example: Example) -> tuple[str, str]:
    return example.question, example.claim


def batches_of(examples: Sequence[Example], size: int, rng: np.random.Generator) -> list[list[Example]]:
    """Shuffled batches of examples of like length."""
    order = rng.permutation(len(examples))
    batches: list[list[Example]] = []
    for first in range(0, len(order), size * POOL_BATCHES):
        alike = sorted((examples[i] for i in order[first : first + size * POOL_BATCHES]), key=_length)
        batches += [alike[i : i + size] for i in range(0, len(alike), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _length(example: Example) -> int:
    return len(example.question) + len(example.claim)


def train(args: argparse.Namespace, model: CrossEncoder, cutter: PairCutter) -> None:
    """One pass or more over the training examples, by a linear decay; the last weights lie in ``args.work``."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    examples, held_out = read_examples(args, "train"), read_examples(args, "validation")
    rng = np.random.default_rng(args.seed)
    rarer = dict.fromkeys(("read", "unanswerable"), args.read_share) if args.written is not None else {}
    examples = [example for example in examples if rng.random() < SHARES[example.kind] / rarer.get(example.kind, 1.0)]
    batches = [batch for _ in range(args.epochs) for batch in batches_of(examples, args.batch_size, rng)][: args.steps]
    model.encoder.embeddings.requires_grad_(False)
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=args.learning_rate, weight_decay=0.01)
    started, losses = time.monotonic(), []
    model.train()
    for step, batch in enumerate(batches):
        optimiser.param_groups[0]["lr"] = args.learning_rate * learning_rate_share(step, len(batches))
        with autocast():
            logits = model(**inputs_of(cutter, [pair_of(example) for example in batch]))
        worth = torch.tensor([example.worth for example in batch])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), worth)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            left = (time.monotonic() - started) / (step + 1) * (len(batches) - step - 1)
            told = {"step": step + 1, "of": len(batches), "loss": round(float(np.mean(losses[-50:])), 4)}
            print(json.dumps(told | {"minutes_left": round(left / 60, 1)}), flush=True)
        if (step + 1) % args.check_steps == 0 or step + 1 == len(batches):
            print(json.dumps({"step": step + 1, "validation": validation(model, cutter, held_out)}), flush=True)
            save_file(model.state_dict(), args.work / WEIGHTS)


def validation(model: CrossEncoder, cutter: PairCutter, examples: Sequence[Example]) -> dict[str, float]:
    """AUC for "F1 of at least one half": of what a reader said by language (its margin's beside it), and of all."""
    model.eval()
    logits = predict(model, cutter, examples)
    model.train()
    found = {"all": _auc(examples, logits)}
    for lang in ("en", "fr"):
        own = [i for i, e in enumerate(examples) if e.lang == lang and e.kind in ("read", "unanswerable")]
        read = [examples[i] for i in own]
        margins = np.array([example.margin for example in read], dtype=np.float64)
        found |= {f"read.{lang}": _auc(read, logits[own]), f"margin.{lang}": _auc(read, margins)}
    return found


def predict(model: CrossEncoder, cutter: PairCutter, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Logits, (n,), in the order of ``examples``."""
    order = sorted(range(len(examples)), key=lambda i: _length(examples[i]))
    logits = np.zeros(len(examples))
    for first in range(0, len(order), 64):
        rows = order[first : first + 64]
        with torch.inference_mode(), autocast():
            logits[rows] = model(**inputs_of(cutter, [pair_of(examples[i]) for i in rows])).float().numpy()
    return logits


def _auc(examples: Sequence[Example], values: NDArray[np.float64]) -> float:
    return round(float(roc_auc_score([example.worth >= 0.5 for example in examples], values)), 4)


def mine(args: argparse.Namespace) -> None:
    """Write the examples of both splits into ``args.work``, a sample of English and all French questions."""
    reader = OnnxReader(args.reader)
    for split, n_english in (("train", args.english_rows), ("validation", 500)):
        rng = np.random.default_rng((args.seed, len(split)))
        rows = read_rows(args.data, [split])
        english = [row for row in rows if row["lang"] == "en"]
        chosen = [english[i] for i in rng.permutation(len(english))[:n_english]]
        chosen += [row for row in rows if row["lang"] == "fr"]
        if args.written is not None and split == "train":
            written = written_rows(args.data, args.written or READ_BEFORE)
            asked = [*written, *(row for row in chosen if not row["answers"])]
            asked = [asked[i] for i in rng.permutation(len(asked))]
            n_read = round(args.read_share * len(asked))
            unread = [row for row in (*asked[n_read:], *chosen) if row["answers"]]
            examples = examples_of(asked[:n_read], reader, rng, unread)
        else:
            examples = examples_of(chosen, reader, rng)
        lines = [json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples]
        write_text(examples_at(args, split), "".join(lines))


def examples_at(args: argparse.Namespace, split: str) -> Path:
    """Where the examples of ``split`` lie, under a hash of the reader, of the texts, and of how they are drawn."""
    texts = [] if args.written is None else args.written or READ_BEFORE
    read = [
        *(args.reader / name for name in CROSS_ENCODER_FILES),  # a reader's files have the same names
        *(args.data / name for name in FILES),
        *(WRITTEN / name for name in texts),
    ]
    key = content_key([sha256_file(path) for path in read], args.english_rows, args.read_share, args.seed)
    return args.work / f"{split}-{key[:12]}-{EXAMPLES}"


def read_examples(args: argparse.Namespace, split: str) -> list[Example]:
    """What `mine` wrote."""
    return [Example(**json.loads(line)) for line in json_lines(examples_at(args, split))]


def start(base: Path, args: argparse.Namespace) -> CrossEncoder:
    """A cross-encoder that begins where a verifier stands, or a reader: that one reads two texts together as well."""
    model = bare_cross_encoder(base, args.layers, args.seed, dropout=args.dropout)
    is_verifier = args.start.is_dir()
    weights = starter_cross_encoder(base, args.start).state_dict() if is_verifier else load_file(args.start)
    model.load_state_dict({name: weights.get(name, weight) for name, weight in model.state_dict().items()})
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reader", type=Path, required=True, help="a reader as int8 ONNX, whose answers are judged")
    parser.add_argument(
        "--start", type=Path, required=True, help="a reader's full weights, or a pressed verifier's folder"
    )
    parser.add_argument("--read-share", type=float, default=0.5, help="of what --written asks a reader: it takes long")
    parser.add_argument(
        "--written",
        nargs="*",
        choices=[*TEXTS, *QUESTIONS],
        help="learn from these texts of `reading_examples` too (none named: those of before step 11)",
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="adapter.safetensors goes here")
    parser.add_argument("--english-rows", type=int, default=6500)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100_000, help="end after this many steps, if sooner")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--check-steps", type=int, default=300)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--dropout", type=float, default=0.1, help="of states, in training")
    parser.add_argument("--rank", type=int, default=32, help="of each matrix's change against the base")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--finish-only", action="store_true", help="press the weights in --work")
    parser.add_argument("--mean", action="store_true", help="keep the mean of the weights trained and of --start")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    base = resolve("all-minilm-l6-v2")
    if not args.finish_only:
        if not examples_at(args, "validation").is_file():  # it is written last
            mine(args)
        train(args, start(base, args), PairCutter(base))
    if args.mean:  # kept apart, so that a rerun does not take the mean of a mean
        before, after = start(base, args).state_dict(), load_file(args.work / WEIGHTS)
        save_file({name: (before[name] + after[name]) / 2 for name in after}, args.work / MEAN)
    press_weights(args, base, MEAN if args.mean else WEIGHTS)


if __name__ == "__main__":
    main()
