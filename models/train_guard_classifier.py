"""Trains the guard's classifier from hand-written examples and public questions; run it to make its weights again.

    python models/train_guard_classifier.py --data DIR --work DIR --out models/guard-starter

A cross-encoder (`palier.adapters.torch_cross_encoder`) reads a language's code and a text and says how likely it is an
attack. It begins where the starter encoder stands, pressed to the rank that is kept; the embeddings stay as they are
without ``--embeddings``.
Each epoch fills the patterns of `guard_examples` with other topics, drops some accents and letters, and holds a sample
of the public and written questions of training articles. Families and topics of fold 0 and a third of the articles are
never learnt from: `train_guard_starter.py` fits on them how far the classifier is to be believed beside the linear
model, and where both refuse.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import json
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from cross_encoder_training import WEIGHTS, inputs_of, learning_rate_share, press_weights
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from train_guard_starter import HELD_OUT_FOLD, folds_of_examples, honest_questions, is_held_out
from training_rows import read_rows, written_rows

from palier.adapters.catalogue import resolve
from palier.adapters.golden_guard import BASE
from palier.adapters.guard_training import CLASSES, Example, Folds, read_examples, with_carriers
from palier.adapters.low_rank import merge_pressed, press
from palier.adapters.onnx_cross_encoder import PairCutter
from palier.adapters.torch_cross_encoder import (
    CrossEncoder,
    bare_cross_encoder,
    export_cross_encoder,
    starter_cross_encoder,
)
from palier.adapters.torch_encoder import load_encoder
from palier.adapters.torch_precision import autocast
from palier.domain.guarding import ATTACKS, HONEST, LANGUAGES

HONEST_WEIGHT = 1.5
"""Of an honest text in the loss; there are twice as many attacks."""


def start(base: Path, encoder: Path, args: argparse.Namespace) -> CrossEncoder:
    """The starter encoder's layers under a new head, as they come back from a file of ``args.rank``."""
    model = bare_cross_encoder(base, args.layers, args.seed, dropout=args.dropout)
    before = model.encoder.state_dict()
    after = load_encoder(base, encoder)[0].model.state_dict()
    merge_pressed(before, press(before, {name: after[name] for name in before}, args.rank, whole=()))
    model.encoder.load_state_dict(before)
    model.encoder.embeddings.requires_grad_(args.embeddings)
    return model


def drawn_epoch(folder: Path, asked: Sequence[Example], folds: Folds, rng: np.random.Generator) -> list[Example]:
    """Patterns with one topic each, some injections behind an honest question, and public questions."""
    learn, _ = folds.splits(read_examples(folder, rng, n_topics=1), HELD_OUT_FOLD)
    texts = [*with_carriers(learn, rng), *asked]
    return [noisy(example, rng) for example in texts if example.kind in CLASSES]


def noisy(example: Example, rng: np.random.Generator) -> Example:
    """As people type: at times without accents, without capitals, with a letter missing."""
    text = example.text
    if rng.random() < 0.15:
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    if rng.random() < 0.1:
        text = text.casefold().rstrip("?.! ")
    if rng.random() < 0.1 and len(text) > 12:
        place = int(rng.integers(1, len(text) - 1))
        text = text[:place] + text[place + 1 :]
    return Example(example.kind, example.family, example.topic, example.lang, text)


def batches_of(examples: Sequence[Example], size: int, rng: np.random.Generator) -> list[list[Example]]:
    """Shuffled batches of texts of like length."""
    order = rng.permutation(len(examples))
    batches: list[list[Example]] = []
    for first in range(0, len(order), 20 * size):
        alike = sorted((examples[i] for i in order[first : first + 20 * size]), key=lambda e: len(e.text))
        batches += [alike[i : i + size] for i in range(0, len(alike), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def logits_of(model: CrossEncoder, cutter: PairCutter, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Logits, (n,), in the order of ``examples``."""
    logits = np.zeros(len(examples))
    order = np.argsort([len(example.text) for example in examples])
    model.eval()
    for first in range(0, len(order), 64):
        rows = order[first : first + 64]
        with torch.inference_mode(), autocast():
            logits[rows] = model(**inputs_of(cutter, [pair_of(examples[i]) for i in rows])).float().numpy()
    model.train()
    return logits


def pair_of(example: Example) -> tuple[str, str]:
    return example.lang, example.text


def report(examples: Sequence[Example], logits: NDArray[np.float64]) -> dict[str, float]:
    """AUC of each kind of attack against honest examples, and the share caught where 2 % of these are refused."""
    found = {}
    for lang in LANGUAGES:
        kinds = np.array([e.kind if e.lang == lang else "" for e in examples])
        honest = logits[kinds == HONEST]
        least = np.quantile(honest, 0.98)
        for kind in ATTACKS:
            own = logits[kinds == kind]
            labels = np.repeat([0, 1], [len(honest), len(own)])
            found[f"auc.{lang}.{kind}"] = round(float(roc_auc_score(labels, np.concatenate([honest, own]))), 4)
            found[f"caught.{lang}.{kind}"] = round(float((own > least).mean()), 3)
    return found


def report_held_out(args: argparse.Namespace, model: CrossEncoder, cutter: PairCutter) -> dict[str, float]:
    """The `report` over families and topics of fold 0."""
    examples = read_examples(args.examples, np.random.default_rng(args.seed))
    _, held_out = folds_of_examples(args.examples).splits(examples, HELD_OUT_FOLD)
    held_out = [example for example in held_out if example.kind in CLASSES]
    return report(held_out, logits_of(model, cutter, held_out))


def train(args: argparse.Namespace, model: CrossEncoder, cutter: PairCutter) -> None:
    """The epochs, by a linear decay; the last weights lie in ``args.work``."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    articles = [*read_rows(args.data, ["train"]), *written_rows(args.data)]
    asked = [e for e in honest_questions(articles, args.honest * args.epochs, rng) if not is_held_out(e)]
    folds = folds_of_examples(args.examples)
    dealt = [[asked[i] for i in part] for part in np.array_split(rng.permutation(len(asked)), args.epochs)]
    epochs = [batches_of(drawn_epoch(args.examples, own, folds, rng), args.batch_size, rng) for own in dealt]
    n_steps, step, started, losses = sum(map(len, epochs)), 0, time.monotonic(), []
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=args.learning_rate, weight_decay=0.01)
    model.train()
    for batches in epochs:
        for batch in batches:
            optimiser.param_groups[0]["lr"] = args.learning_rate * learning_rate_share(step, n_steps)
            with autocast():
                logits = model(**inputs_of(cutter, [pair_of(example) for example in batch]))
            honest = torch.tensor([float(example.kind == HONEST) for example in batch])
            weight = 1.0 + (HONEST_WEIGHT - 1.0) * honest
            wanted = torch.where(honest > 0, args.smoothing, 1.0 - args.smoothing)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), wanted, weight)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learnt, 1.0)
            optimiser.step()
            step += 1
            losses.append(float(loss.detach()))
            if step % 50 == 0:
                left = (time.monotonic() - started) / step * (n_steps - step) / 60
                told = {"step": step, "of": n_steps, "loss": round(float(np.mean(losses[-50:])), 4)}
                print(json.dumps(told | {"minutes_left": round(left, 1)}), flush=True)
        save_file(model.state_dict(), args.work / WEIGHTS)
        print(json.dumps({"step": step, **report_held_out(args, model, cutter)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--examples", type=Path, default=Path(__file__).parent / "guard_examples")
    parser.add_argument("--work", type=Path, required=True, help="full weights go here, and int8 ONNX")
    parser.add_argument("--out", type=Path, required=True, help="adapter.safetensors and config.json go here")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--honest", type=int, default=2000, help="public and written questions an epoch and language")
    parser.add_argument("--learning-rate", type=float, default=1.5e-4)
    parser.add_argument("--smoothing", type=float, default=0.03, help="how far from 0 and 1 the labels are")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--embeddings", action="store_true", help="train them too, as French may need")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--press-only", action="store_true", help="write --out from the weights in --work")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    base = resolve(BASE)
    if not args.press_only:
        train(args, start(base, resolve("encoder-starter"), args), PairCutter(base))
    press_weights(args, base)
    pressed = report_held_out(args, starter_cross_encoder(base, args.out), PairCutter(base))
    print(json.dumps({"pressed": pressed}), flush=True)
    export_cross_encoder(starter_cross_encoder(base, args.out), base, args.work / "int8")


if __name__ == "__main__":
    main()
