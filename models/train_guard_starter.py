"""Makes the committed guard out of hand-written examples and public questions; run it to make it again.

    python models/train_guard_starter.py --data DIR --encoder FOLDER --out models/guard-starter

``--data`` is the folder of question sets (their questions are honest), ``--encoder`` the starter encoder as int8 ONNX.
The first half is fitted on `models/guard_examples` and on questions of training articles; its threshold is the one
that refuses ``--refused`` of the questions of other training articles, which it was not fitted on. The second half is
fitted on pools of validation articles, with their own questions and with others. Test articles are not read. Nothing
needs torch.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from training_rows import Row, read_rows

from palier.adapters.guard_training import (
    Example,
    Recipe,
    as_weights,
    attack_scores,
    fit_attack,
    fit_topic,
    read_examples,
    threshold_for,
    topic_rows,
    unseen_scores,
    with_carriers,
)
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.question_pools import Pool, hits_of, pools_of
from palier.adapters.recent_vectors import RecentVectors
from palier.adapters.workspace import write_text
from palier.domain.answering import Question
from palier.domain.documents import Lang, Passage, sha256_text
from palier.domain.guarding import ATTACKS, HONEST, LANGUAGES, GuardWeights, off_topic_score
from palier.domain.scoring import TextEncoder

DENSE_WEIGHT = {"en": 0.45, "fr": 0.25}
POOL_PASSAGES = 25
ARTICLE = "article "
STRANGERS = 40
"""Questions of other pools that each pool is asked."""


def honest_questions(rows: Sequence[Row], n: int, rng: np.random.Generator) -> list[Example]:
    """``n`` questions of each language, one family for each article."""
    found = []
    for lang in LANGUAGES:
        own = [row for row in rows if row["lang"] == lang and row["question"].strip()]
        for place in rng.permutation(len(own))[:n]:
            row = own[place]
            found.append(Example(HONEST, f"{ARTICLE}{row['title']}", "", lang, row["question"]))
    return found


def is_held_out(example: Example) -> bool:
    """Whether an article's questions choose the threshold, instead of being learnt from: a third of all articles."""
    return int(sha256_text(example.family), 16) % 3 == 0


def pools(rows: Sequence[Row], rng: np.random.Generator, n_questions: int) -> list[Pool]:
    """Pools of both languages, each with at most ``n_questions`` of its questions."""
    found = []
    for lang in LANGUAGES:
        own = [row for row in rows if row["lang"] == lang]
        passages = list({sha256_text(row["context"]): passage_of(row, lang) for row in own}.values())
        asked = [(row["title"], row["question"]) for row in own]
        for pool in pools_of(passages, asked, lang, least=POOL_PASSAGES, most=2 * POOL_PASSAGES):
            drawn = rng.permutation(len(pool.questions))[:n_questions]
            found.append(Pool(pool.name, lang, pool.passages, tuple(pool.questions[i] for i in drawn)))
    return found


def passage_of(row: Row, lang: Lang) -> Passage:
    title = row["title"].replace("_", " ")
    return Passage(sha256_text(row["context"])[:24], row["title"], lang, title, "", row["context"], 1, 1)


def topic_table(
    found: Sequence[Pool], examples: Sequence[Example], encoder: TextEncoder, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[Question]]:
    """TOPIC of each pool's own questions and of strangers' (other pools', and the off-topic examples)."""
    rows, off, asked = [], [], []
    for pool in found:
        others = [q for other in found if other.lang == pool.lang and other.name != pool.name for q in other.questions]
        drawn = [others[i] for i in rng.permutation(len(others))[:STRANGERS]]
        drawn += [e.text for e in examples if e.kind == "off_topic" and e.lang == pool.lang]
        questions = [Question(text, pool.lang) for text in (*pool.questions, *drawn)]
        rows.append(topic_rows(questions, hits_of(pool, questions, encoder, DENSE_WEIGHT[pool.lang])))
        off += [False] * len(pool.questions) + [True] * len(drawn)
        asked += questions
    return np.concatenate(rows), np.array(off), asked


def topic_thresholds(
    weights: GuardWeights, table: NDArray[np.float64], off: NDArray[np.bool_], asked: Sequence[Question], share: float
) -> dict[Lang, float]:
    """By language, what refuses ``share`` of the questions that are on topic; prints how many others that catches."""
    scores = np.array([off_topic_score(weights, row, q) for row, q in zip(table, asked, strict=True)])
    langs = np.array([question.lang for question in asked])
    thresholds: dict[Lang, float] = {}
    for lang in LANGUAGES:
        thresholds[lang] = threshold_for(scores[(langs == lang) & ~off], share)
        caught = float((scores[(langs == lang) & off] >= thresholds[lang]).mean())
        print(json.dumps({"off_topic": lang, "threshold": thresholds[lang], "caught": round(caught, 3)}), flush=True)
    return thresholds


def attack_thresholds(
    weights: GuardWeights, unseen: Sequence[Example], encoder: TextEncoder, share: float
) -> dict[Lang, float]:
    """By language, what refuses at most ``share`` of public questions of articles that the weights have not seen."""
    thresholds: dict[Lang, float] = {}
    for lang in LANGUAGES:
        scores = attack_scores(weights, [example for example in unseen if example.lang == lang], encoder)
        thresholds[lang] = threshold_for(scores, share)
        print(json.dumps({"attack": lang, "threshold": thresholds[lang], "honest": len(scores)}), flush=True)
    return thresholds


def measure(examples: Sequence[Example], honest: Sequence[Example], encoder: TextEncoder, recipe: Recipe) -> None:
    """Print what share of attacks of unseen families and topics is caught where 2 % of honest texts are refused."""
    tested, scores = unseen_scores(examples, honest, encoder, recipe)
    langs, kinds = np.array([e.lang for e in tested]), np.array([e.kind for e in tested])
    for lang in LANGUAGES:
        own = langs == lang
        least = threshold_for(scores[own & (kinds == HONEST)], 0.02)
        caught = {kind: round(float((scores[own & (kinds == kind)] >= least).mean()), 3) for kind in ATTACKS}
        print(json.dumps({"unseen families": lang, "threshold": least, "caught": caught}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="the starter encoder as int8 ONNX")
    parser.add_argument("--examples", type=Path, default=Path(__file__).parent / "guard_examples")
    parser.add_argument("--out", type=Path, required=True, help="guard.json goes here")
    parser.add_argument("--honest", type=int, default=400, help="public questions of each language")
    parser.add_argument("--pool-questions", type=int, default=60)
    parser.add_argument("--regularisation", type=float, default=Recipe().regularisation)
    parser.add_argument("--lexical-weight", type=float, default=Recipe().lexical_weight)
    parser.add_argument("--refused", type=float, default=Recipe().refused)
    parser.add_argument("--refused-topic", type=float, default=0.005)
    parser.add_argument("--measure", action="store_true", help="also by families left out (five fits more)")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    encoder = RecentVectors(OnnxEncoder(args.encoder), size=100_000)
    recipe = Recipe(args.regularisation, args.lexical_weight, args.refused)
    examples = with_carriers(read_examples(args.examples, rng), rng)
    honest = honest_questions(read_rows(args.data, ["train"]), args.honest, rng)
    seen = [example for example in honest if not is_held_out(example)]
    if args.measure:
        measure(examples, honest, encoder, recipe)
    found = pools(read_rows(args.data, ["validation"]), rng, args.pool_questions)
    table, off, asked = topic_table(found, examples, encoder, rng)
    weights = as_weights(fit_attack([*examples, *seen], encoder, recipe), fit_topic(table, off))
    attack = attack_thresholds(weights, [e for e in honest if is_held_out(e)], encoder, args.refused)
    topic = topic_thresholds(weights, table, off, asked, args.refused_topic)
    weights = weights.model_copy(update={"attack_threshold": attack, "topic_threshold": topic})
    write_text(args.out / "guard.json", weights.model_dump_json() + "\n")


if __name__ == "__main__":
    main()
