"""Trains the committed starter encoder from public question sets; run it to make `models/encoder-starter/` again.

    python models/train_encoder_starter.py --data DIR --corpora DIR --work DIR --out models/encoder-starter

``--data`` holds SQuAD 1.1, PIAF and Natural Questions as `.jsonl.gz` rows; ``--corpora`` holds Markdown documentation
with `en/` and `fr/` folders (`.tar.gz`), whose paragraphs that stand in the same place of both languages teach that a
French sentence means what an English one does. Titles are split by hash (`palier.domain.title_split`); only training
titles are read into the weights. A batch holds one language, except the translated ones, since a passage of another
language is too easy a counter-example. French passages come twice as often as English ones: MiniLM knows English.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import json
import re
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from training_rows import Row, content_of, read_rows

from palier.adapters.catalogue import resolve
from palier.adapters.encoder_training import (
    EncoderPlan,
    TrainingPassage,
    bm25_similarity,
    neighbour_batches,
    own_similarity,
    train_steps,
)
from palier.adapters.low_rank import press
from palier.adapters.torch_encoder import embed_fp32, load_encoder
from palier.domain import ranking_metrics

RANK = 64
WEIGHTS = "weights.safetensors"
EVERY_ENGLISH_ROUND = 1500  # English passages per round; all French ones come twice
CROP_WORDS = (6, 16)
_BLOCK = re.compile(r"\n\s*\n")


def passages_of(rows: Sequence[Row], lang: str, rng: np.random.Generator) -> list[TrainingPassage]:
    """Distinct passages of ``lang`` with all their questions; one in five stands without its title."""
    questions: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["lang"] == lang and row["answers"]:
            questions[content_of(row, with_title=True)].append(row["question"])
    return [
        TrainingPassage(text if rng.random() < 0.8 else text.split("\n", 1)[1], tuple(dict.fromkeys(asked)))
        for text, asked in questions.items()
    ]


def disturbed(passages: Sequence[TrainingPassage], rng: np.random.Generator) -> list[TrainingPassage]:
    """Each passage as one round shows it: another cut, and one more "question", a run of words taken out of it.

    Inverse cloze (Lee et al. 2019): nine times in ten the run is gone from the passage, so that its meaning has to be
    found and not its words. Half of the passages lose up to two fifths at one end, questions one word in twelve: few
    passages are seen often, and must not be learnt by heart.
    """
    shown = []
    for passage in passages:
        words = passage.text.split(" ")
        if rng.random() < 0.5:
            lost = int(rng.integers(1 + 2 * len(words) // 5))
            words = words[lost:] if rng.random() < 0.5 else words[: len(words) - lost]
        n = int(rng.integers(*CROP_WORDS))
        start = int(rng.integers(max(1, len(words) - n)))
        crop = " ".join(words[start : start + n])
        if rng.random() < 0.9 and len(words) > 3 * n:
            words = words[:start] + words[start + n :]
        asked = tuple(_with_gaps(question, rng) for question in passage.questions)
        shown.append(TrainingPassage(" ".join(words), (*asked, crop)))
    return shown


def _with_gaps(question: str, rng: np.random.Generator) -> str:
    return " ".join(word for word in question.split() if rng.random() > 1 / 12) or question


def documentation(corpora: Path, lang: str) -> list[TrainingPassage]:
    """Sections of the documentation in ``lang``, asked for by their headings: more text of another kind."""
    sections: dict[str, str] = {}
    for texts in _archives(corpora):
        for name, text in texts.items():
            if not name.startswith(f"{lang}/"):
                continue
            page = ""
            for heading, *blocks in filter(None, _sections(text)):
                title = re.sub(r"\{.*\}", "", heading).strip("# *`")
                body = "\n".join(block for block in blocks if _kind(block) == "p")
                if heading.startswith("#") and 25 <= len(body.split()) <= 200:
                    sections.setdefault(body, f"{page} {title}".strip())
                page = page or title
    return [TrainingPassage(body, (heading,)) for body, heading in sections.items()]


def translated_blocks(corpora: Path) -> list[TrainingPassage]:
    """Paragraphs that stand in the same place of an English and a French document, each way round."""
    pairs: set[tuple[str, str]] = set()
    for texts in _archives(corpora):
        for name, text in texts.items():
            if name.startswith("en/") and (other := texts.get(f"fr/{name[3:]}")):
                pairs |= set(_same_places(text, other))
    both = [TrainingPassage(en, (fr,)) for en, fr in sorted(pairs)]
    return both + [TrainingPassage(fr, (en,)) for en, fr in sorted(pairs)]


def _archives(corpora: Path) -> Iterator[dict[str, str]]:
    """Markdown files by name, archive by archive."""
    for path in sorted(corpora.glob("*.tar.gz")):
        with tarfile.open(path) as tar:
            yield {
                member.name.lstrip("./"): file.read().decode()
                for member in tar
                if member.name.endswith(".md") and (file := tar.extractfile(member))
            }


def _same_places(english: str, french: str) -> Iterator[tuple[str, str]]:
    """Blocks side by side, section by section, where both sections have the same kinds of blocks in the same order."""
    for left, right in zip(_sections(english), _sections(french), strict=False):
        if [_kind(block) for block in left] == [_kind(block) for block in right]:
            for en, fr in zip(left, right, strict=True):
                if _kind(en) in "ph" and en != fr and 3 <= len(fr.split()) <= 80:
                    yield en, fr


def _sections(text: str) -> list[list[str]]:
    sections: list[list[str]] = [[]]
    for block in (part.strip() for part in _BLOCK.split(text)):
        if block.startswith("#"):
            sections.append([])
        if block:
            sections[-1].append(block)
    return sections


def _kind(block: str) -> str:
    return {"#": "h", "`": "c", "|": "t", "<": "x", "!": "x", "/": "x", "{": "c"}.get(block[0], "p")


class Rounds:
    """Batches without end: French twice, a sample of English, and the translations, shuffled."""

    def __init__(
        self,
        english: Sequence[TrainingPassage],
        french: Sequence[TrainingPassage],
        translated: Sequence[TrainingPassage],
        plan: EncoderPlan,
    ) -> None:
        self._english, self._french, self._translated = english, french, translated
        self._plan = plan
        self.similar = {"en": bm25_similarity(english), "fr": bm25_similarity(french)}

    def remine(self, similar: dict[str, NDArray[np.float32]]) -> None:
        """From the next round on, neighbours are those of ``similar``."""
        self.similar = similar

    def __iter__(self) -> Iterator[Sequence[TrainingPassage]]:
        number = 0
        while True:
            rng = np.random.default_rng((self._plan.seed, 2, number))
            yield from self._round(rng)
            number += 1

    def _round(self, rng: np.random.Generator) -> list[Sequence[TrainingPassage]]:
        size = self._plan.batch_passages
        batches: list[Sequence[TrainingPassage]] = []
        for _ in range(2):
            french = disturbed(self._french, rng)
            batches += [[french[i] for i in rows] for rows in neighbour_batches(self.similar["fr"], size, rng)]
        chosen = rng.permutation(len(self._english))[:EVERY_ENGLISH_ROUND]
        near = self.similar["en"][np.ix_(chosen, chosen)]
        english = disturbed([self._english[i] for i in chosen], rng)
        batches += [[english[i] for i in rows] for rows in neighbour_batches(near, size, rng)]
        order = rng.permutation(len(self._translated))[: len(self._translated) // 2]
        batches += [[self._translated[i] for i in order[at : at + 2 * size]] for at in range(0, len(order), 2 * size)]
        return [batches[i] for i in rng.permutation(len(batches))]


def validation_ndcg(model: torch.nn.Module, rows: Sequence[Row], lang: str, n_asked: int = 300) -> float:
    """nDCG@10 of dense search over the passages of ``rows`` in ``lang``, at most 300 questions."""
    own = [row for row in rows if row["lang"] == lang and row["answers"]]
    texts = list(dict.fromkeys(content_of(row, with_title=True) for row in own))
    asked = own[:: max(1, len(own) // n_asked)]
    near = embed_fp32(model, [row["question"] for row in asked]) @ embed_fp32(model, texts).T
    values = [
        ranking_metrics.ndcg(
            [texts[i] for i in np.argsort(-line, kind="stable")[:10]], {content_of(row, with_title=True)}, 10
        )
        for line, row in zip(near, asked, strict=True)
    ]
    return float(np.mean(values))


def average(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of several weights; a folder is a starter as it is committed."""
    states = [
        load_encoder(resolve("all-minilm-l6-v2"), path).state_dict() if path.is_dir() else load_file(path)
        for path in files
    ]
    return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


def blend(model: torch.nn.Module, base: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor], share: float) -> None:
    """Weights between ``base`` (share 0) and ``tuned`` (1), which keeps more of what the base knew
    (Wortsman et al. 2022, robust fine-tuning).
    """
    model.load_state_dict(
        {
            name: torch.lerp(base[name], tuned[name], share) if tuned[name].is_floating_point() else tuned[name]
            for name in tuned
        }
    )


def train(args: argparse.Namespace) -> None:
    rng = np.random.default_rng(args.seed)
    rows = read_rows(args.data, ["train"])
    held_out = read_rows(args.data, ["validation"])
    english, french = (passages_of(rows, lang, rng) for lang in ("en", "fr"))
    plan = EncoderPlan(args.steps, args.learning_rate, seed=args.seed, n_threads=args.threads)
    translated = translated_blocks(args.corpora)
    english, french = english + documentation(args.corpora, "en"), french + documentation(args.corpora, "fr")
    rounds = Rounds(english, french, translated, plan)
    print(json.dumps({"english": len(english), "french": len(french), "translated": len(translated) // 2}), flush=True)
    model = load_encoder(resolve("all-minilm-l6-v2"))
    if args.from_starter:
        model = load_encoder(resolve("all-minilm-l6-v2"), resolve("encoder-starter"))
        rounds.remine({"en": own_similarity(model, english), "fr": own_similarity(model, french)})
    if args.start:
        blend(model, model.state_dict(), average(args.start), args.start_share)
        rounds.remine({"en": own_similarity(model, english), "fr": own_similarity(model, french)})
    args.work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    losses: list[float] = []

    def after_step(step: int, loss: float) -> None:
        losses.append(loss)
        if step % 20 == 0 or step == 5:
            seconds = round(time.monotonic() - started)
            print(json.dumps({"step": step, "loss": round(float(np.mean(losses[-20:])), 4), "s": seconds}), flush=True)
        if step == plan.n_steps * 2 // 5 and not (args.start or args.from_starter):
            rounds.remine({"en": own_similarity(model, english), "fr": own_similarity(model, french)})
        if step % max(1, plan.n_steps // 8) == 0:
            save_file(model.state_dict(), args.work / f"weights-{step}.safetensors")
            model.eval()
            scores = {lang: round(validation_ndcg(model, held_out, lang), 4) for lang in ("en", "fr")}
            model.train()
            print(json.dumps({"step": step, "validation_ndcg_at_10": scores}), flush=True)

    train_steps(model, iter(rounds), plan, after_step)
    save_file(model.state_dict(), args.work / WEIGHTS)


def finish(args: argparse.Namespace) -> None:
    """Say what each share of the tuned weights is worth, and press the one that was asked for."""
    model = load_encoder(resolve("all-minilm-l6-v2"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tuned = average(args.average) if args.average else load_file(args.work / WEIGHTS)
    held_out = read_rows(args.data, ["validation"])
    for share in args.shares:
        blend(model, before, tuned, share)
        scores = {lang: round(validation_ndcg(model, held_out, lang), 4) for lang in ("en", "fr")}
        print(json.dumps({"share": share, "validation_ndcg_at_10": scores}), flush=True)
    blend(model, before, tuned, args.share)
    args.out.mkdir(parents=True, exist_ok=True)
    after = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(press(before, after, RANK), args.out / "adapter.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="weights of each eighth and of the end")
    parser.add_argument("--out", type=Path, required=True, help="adapter.safetensors goes here")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--learning-rate", type=float, default=1.5e-4)
    parser.add_argument(
        "--start", type=Path, nargs="*", help="begin from the average of these, with neighbours by the encoder itself"
    )
    parser.add_argument("--from-starter", action="store_true", help="begin from the committed starter, likewise")
    parser.add_argument("--start-share", type=float, default=1.0, help="of that average, 0..1; the rest is the base")
    parser.add_argument("--share", type=float, default=1.0, help="of the tuned weights, 0..1")
    parser.add_argument("--average", type=Path, nargs="*", help="finish with the mean of these weights, or starters")
    parser.add_argument("--shares", type=float, nargs="*", default=[], help="shares to measure before pressing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--finish-only", action="store_true", help="press the weights in --work")
    args = parser.parse_args()
    if not args.finish_only:
        train(args)
    finish(args)


if __name__ == "__main__":
    main()
