"""Trains the committed starter reranker from public question sets; run it to make `models/reranker-starter/` again.

    python models/train_reranker_starter.py --data DIR --encoder FOLDER --work DIR --out models/reranker-starter

The first three layers of the starter reader, which reads question and passage together already, learn with a new head
to tell a question's own passage from those that BM25 and the encoder put near it (``--encoder``: its int8 ONNX folder).
Passages that hold an answer of the question are no counter-examples. What is committed is a change of the base alone:
a reader that is trained again does not touch it. Titles are split by hash (`palier.domain.title_split`); only training
titles are read into the weights.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from training_rows import Row, content_of, read_rows

from palier.adapters.catalogue import resolve
from palier.adapters.encoder_training import bm25_scores
from palier.adapters.low_rank import press
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reranker import CONFIG, PairCutter, RerankerConfig
from palier.adapters.reader_adapter import starter_reader
from palier.adapters.torch_encoder import STARTER_FILE
from palier.adapters.torch_reranker import CrossEncoder, bare_reranker
from palier.adapters.workspace import write_json
from palier.domain import ranking_metrics

NEAR = 20  # counter-examples are drawn from so many of each search
WEIGHTS = "weights.safetensors"


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


def inputs_of(cutter: PairCutter, pairs: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """Padded token tensors of (question, passage) pairs."""
    windows = [cutter.pair(*pair) for pair in pairs]
    longest = max(len(window.ids) for window in windows)
    shape = (len(windows), longest)
    ids, types, mask = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    for row, window in enumerate(windows):
        n = len(window.ids)
        ids[row, :n], types[row, :n], mask[row, :n] = torch.tensor(window.ids), torch.tensor(window.type_ids), 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def choice_loss(
    model: CrossEncoder, cutter: PairCutter, picked: Sequence[tuple[Choice, Sequence[str]]]
) -> torch.Tensor:
    """Cross-entropy of the own passage among equally many counter-examples for each question."""
    pairs = [(choice.question, text) for choice, others in picked for text in (choice.own, *others)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(**inputs_of(cutter, pairs)).float().view(len(picked), -1)
    return torch.nn.functional.cross_entropy(logits, torch.zeros(len(picked), dtype=torch.long))


def train(args: argparse.Namespace, model: CrossEncoder, cutter: PairCutter) -> None:
    torch.set_num_threads(args.threads)
    encoder = OnnxEncoder(args.encoder)
    rows, held_out = read_rows(args.data, ["train"]), read_rows(args.data, ["validation"])
    pools = {lang: mine(rows, lang, encoder, near=NEAR) for lang in ("en", "fr")}
    checks = {lang: mine(held_out, lang, encoder, near=10)[:: args.check_every] for lang in ("en", "fr")}
    print(json.dumps({lang: len(pool) for lang, pool in pools.items()}), flush=True)
    model.encoder.embeddings.requires_grad_(False)
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=args.learning_rate, weight_decay=0.01)
    rng, started, losses = np.random.default_rng(args.seed), time.monotonic(), []
    queues: dict[str, list[Choice]] = {"en": [], "fr": []}
    for step in range(args.steps):
        lang = "fr" if step % 2 else "en"
        picked = []
        for _ in range(args.questions):
            if not queues[lang]:
                queues[lang] = [pools[lang][i] for i in rng.permutation(len(pools[lang]))]
            choice = queues[lang].pop()
            drawn = rng.choice(len(choice.others), args.others, replace=len(choice.others) < args.others)
            picked.append((choice, [choice.others[i] for i in drawn]))
        warm_up = args.steps // 20
        rate = min((step + 1) / max(1, warm_up), (args.steps - step) / max(1, args.steps - warm_up))
        optimiser.param_groups[0]["lr"] = args.learning_rate * rate
        loss = choice_loss(model, cutter, picked)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            told = {"step": step + 1, "loss": round(float(np.mean(losses[-50:])), 4)}
            print(json.dumps(told | {"s": round(time.monotonic() - started)}), flush=True)
        if (step + 1) % max(1, args.steps // 4) == 0:
            print(json.dumps({"validation_mrr": validation(model, cutter, checks)}), flush=True)
            save_file(model.state_dict(), args.work / WEIGHTS)


def validation(model: CrossEncoder, cutter: PairCutter, checks: dict[str, list[Choice]]) -> dict[str, float]:
    """Mean reciprocal rank of the own passage among all counter-examples, by language."""
    model.eval()
    found = {}
    for lang, choices in checks.items():
        values = []
        for choice in choices:
            texts = [choice.own, *choice.others]
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(**inputs_of(cutter, [(choice.question, text) for text in texts])).float().numpy()
            ranking = [texts[i] for i in np.argsort(-logits, kind="stable")]
            values.append(ranking_metrics.reciprocal_rank(ranking, {choice.own}))
        found[lang] = round(float(np.mean(values)), 4)
    model.train()
    return found


def from_reader(base: Path, n_layers: int, seed: int) -> CrossEncoder:
    """A reranker whose embeddings and layers are the first ones of the starter reader."""
    model = bare_reranker(base, n_layers, seed)
    reader = starter_reader(base, resolve("reader-starter"), seed).state_dict()
    model.load_state_dict({name: reader.get(name, weight) for name, weight in model.state_dict().items()})
    return model


def finish(args: argparse.Namespace, base: Path) -> None:
    """Press the weights in ``args.work`` against the base."""
    before, after = bare_reranker(base, args.layers, 0).state_dict(), load_file(args.work / WEIGHTS)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(press(before, after, args.rank, whole=("head.",)), args.out / STARTER_FILE)
    write_json(args.out / CONFIG, RerankerConfig(layers=args.layers).model_dump())


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
    parser.add_argument("--rank", type=int, default=64, help="of each matrix's change against the base")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--finish-only", action="store_true", help="press the weights in --work")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    base = resolve("all-minilm-l6-v2")
    if not args.finish_only:
        train(args, from_reader(base, args.layers, args.seed), PairCutter(base))
    finish(args, base)


if __name__ == "__main__":
    main()
