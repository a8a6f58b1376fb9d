"""Trains the committed starter reranker from public question sets; run it to make `models/reranker-starter/` again.

    python models/train_reranker_starter.py --data DIR --encoder FOLDER --work DIR --out models/reranker-starter

The first layers of the starter reader, which reads question and passage together already, learn with a new head to
tell a question's own passage from those that BM25 and the encoder put near it (``--encoder``: its int8 ONNX folder).
Passages that hold an answer of the question are no counter-examples. Six layers make a teacher (``--layers 6``),
three a student that learns from the teacher's marks as well (``--teacher``). What is committed is a change of the
base alone: a reader that is trained again does not touch it.
Titles are split by hash (`palier.domain.title_split`); only training
titles are read into the weights.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cross_encoder_training import WEIGHTS, inputs_of, learning_rate_share, press_weights
from safetensors.torch import load_file, save_file
from training_rows import Row, content_of, read_rows

from palier.adapters.catalogue import resolve
from palier.adapters.encoder_training import bm25_scores
from palier.adapters.onnx_cross_encoder import PairCutter
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.reader_adapter import starter_reader
from palier.adapters.torch_cross_encoder import CrossEncoder, bare_cross_encoder
from palier.adapters.torch_precision import autocast
from palier.domain import ranking_metrics

NEAR = 20  # counter-examples are drawn from so many of each search


@dataclass(frozen=True, slots=True)
class Choice:
    """A question, its own passage first, then passages that only look like it."""

    question: str
    own: str
    others: tuple[str, ...]


def mine(rows: Sequence[Row], lang: str, encoder: OnnxEncoder, *, near: int) -> list[Choice]:
    """Every answerable question of ``lang`` with what BM25 and the encoder put first and is not its passage."""
    own = [row for row in rows if row["lang"] == lang and row["answers"]]
    texts = list(dict.fromkeys(content_of(row, with_title=True) for row in own))
    questions = [row["question"] for row in own]
    dense = encoder.embed(questions) @ encoder.embed(texts).T
    words = bm25_scores(questions, texts)
    choices = []
    for i, row in enumerate(own):
        content = content_of(row, with_title=True)
        found = [texts[j] for scores in (words[i], dense[i]) for j in np.argsort(-scores)[:near]]
        others = [
            text for text in dict.fromkeys(found) if text != content and not _holds_an_answer(text, row["answers"])
        ]
        if others:
            choices.append(Choice(row["question"], content, tuple(others)))
    return choices


def _holds_an_answer(text: str, answers: Sequence[str]) -> bool:
    folded = text.casefold()
    return any(answer.casefold() in folded for answer in answers)


Picked = Sequence[tuple[Choice, Sequence[str]]]


def marks(model: CrossEncoder, cutter: PairCutter, picked: Picked) -> torch.Tensor:
    """Logits of shape (questions, 1 + counter-examples), the own passage first."""
    pairs = [(choice.question, text) for choice, others in picked for text in (choice.own, *others)]
    with autocast():
        return model(**inputs_of(cutter, pairs)).float().view(len(picked), -1)


def choice_loss(given: torch.Tensor, taught: torch.Tensor | None) -> torch.Tensor:
    """Cross-entropy of the own passage among the counter-examples; half of it that of the teacher's marks, if any."""
    own = torch.nn.functional.cross_entropy(given, torch.zeros(len(given), dtype=torch.long))
    if taught is None:
        return own
    return (own + torch.nn.functional.cross_entropy(given, taught.softmax(1))) / 2


class Lessons:
    """Questions of both languages in turn, each with counter-examples drawn anew whenever it comes."""

    def __init__(self, pools: Mapping[str, Sequence[Choice]], args: argparse.Namespace) -> None:
        self._pools, self._n_others = pools, args.others
        self._rng = np.random.default_rng(args.seed)
        self._queues: dict[str, list[Choice]] = {lang: [] for lang in pools}

    def draw(self, lang: str, n: int) -> Picked:
        """``n`` questions of ``lang``; none comes twice before all came once."""
        return [self._one(lang) for _ in range(n)]

    def _one(self, lang: str) -> tuple[Choice, Sequence[str]]:
        pool, queue, rng = self._pools[lang], self._queues[lang], self._rng
        if not queue:
            queue.extend(pool[i] for i in rng.permutation(len(pool)))
        choice = queue.pop()
        drawn = rng.choice(len(choice.others), self._n_others, replace=len(choice.others) < self._n_others)
        return choice, [choice.others[i] for i in drawn]


def train(args: argparse.Namespace, model: CrossEncoder, teacher: CrossEncoder | None, cutter: PairCutter) -> None:
    """Weights of the best quarter by validation titles, both languages together, lie in ``args.work`` at the end."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    encoder = OnnxEncoder(args.encoder)
    rows, held_out = read_rows(args.data, ["train"]), read_rows(args.data, ["validation"])
    lessons = Lessons({lang: mine(rows, lang, encoder, near=NEAR) for lang in ("en", "fr")}, args)
    checks = {lang: mine(held_out, lang, encoder, near=10)[:: args.check_every] for lang in ("en", "fr")}
    model.encoder.embeddings.requires_grad_(False)
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=args.learning_rate, weight_decay=0.01)
    started, losses, best = time.monotonic(), [], 0.0
    model.train()
    for step in range(args.steps):
        picked = lessons.draw("fr" if step % 2 else "en", args.questions)
        with torch.inference_mode():
            taught = marks(teacher, cutter, picked) if teacher else None
        optimiser.param_groups[0]["lr"] = args.learning_rate * learning_rate_share(step, args.steps)
        loss = choice_loss(marks(model, cutter, picked), taught)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            told = {"step": step + 1, "loss": round(float(np.mean(losses[-50:])), 4)}
            print(json.dumps(told | {"s": round(time.monotonic() - started)}), flush=True)
        if (step + 1) % max(1, args.steps // 4) == 0:
            found = validation(model, cutter, checks)
            print(json.dumps({"step": step + 1, "validation_mrr": found}), flush=True)
            if sum(found.values()) > best:
                best = sum(found.values())
                save_file(model.state_dict(), args.work / WEIGHTS)


def validation(model: CrossEncoder, cutter: PairCutter, checks: dict[str, list[Choice]]) -> dict[str, float]:
    """Mean reciprocal rank of the own passage among all counter-examples, by language."""
    model.eval()
    found = {}
    for lang, choices in checks.items():
        values = []
        for choice in choices:
            texts = [choice.own, *choice.others]
            with torch.inference_mode(), autocast():
                logits = model(**inputs_of(cutter, [(choice.question, text) for text in texts])).float().numpy()
            ranking = [texts[i] for i in np.argsort(-logits, kind="stable")]
            values.append(ranking_metrics.reciprocal_rank(ranking, {choice.own}))
        found[lang] = round(float(np.mean(values)), 4)
    model.train()
    return found


def from_reader(base: Path, n_layers: int, seed: int, dropout: float) -> CrossEncoder:
    """A reranker whose embeddings and layers are the first ones of the starter reader."""
    model = bare_cross_encoder(base, n_layers, seed, dropout=dropout)
    reader = starter_reader(base, resolve("reader-starter"), seed).state_dict()
    model.load_state_dict({name: reader.get(name, weight) for name, weight in model.state_dict().items()})
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="the starter encoder as int8 ONNX")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="adapter.safetensors goes here")
    parser.add_argument("--steps", type=int, default=520)
    parser.add_argument("--questions", type=int, default=8, help="of a step")
    parser.add_argument("--others", type=int, default=4, help="counter-examples of a question")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--check-every", type=int, default=4, help="of so many validation questions one is asked")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.1, help="of states, in training")
    parser.add_argument("--teacher", type=Path, help=f"{WEIGHTS} of a larger reranker to learn from as well")
    parser.add_argument("--teacher-layers", type=int, default=6)
    parser.add_argument("--rank", type=int, default=64, help="of each matrix's change against the base")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--finish-only", action="store_true", help="press the weights in --work")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    base = resolve("all-minilm-l6-v2")
    if not args.finish_only:
        teacher = bare_cross_encoder(base, args.teacher_layers, 0) if args.teacher else None
        if teacher:
            teacher.load_state_dict(load_file(args.teacher))
            teacher.eval()
        train(args, from_reader(base, args.layers, args.seed, args.dropout), teacher, PairCutter(base))
    press_weights(args, base)


if __name__ == "__main__":
    main()
