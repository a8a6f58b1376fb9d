"""Makes the committed guard out of hand-written examples and public questions; run it to make it again.

    python models/train_guard_starter.py --data DIR --encoder FOLDER --classifier FOLDER --out models/guard-starter

``--data`` is the folder of question sets (their questions are honest), ``--encoder`` the starter encoder as int8 ONNX.
The first half is fitted on `models/guard_examples` and on questions of training articles and `reading_examples`. Its
threshold is the least that refuses at most ``--refused`` of the questions of other such articles, which it was not
fitted on, at most ``--refused-golden`` of the sample assistant's golden questions (the test ones are not read), and at
most ``--refused-alike`` of the honest examples of fold 0, judged by linear weights that saw neither their family nor
their topic and by the classifier (``--classifier``: its int8 ONNX, which `train_guard_classifier.py` leaves in its work
folder), which has not learnt from them either. How far each of both is believed is fitted there too: three numbers a
language, on the texts that choose the threshold. The second half is fitted on pools of validation articles, with their
own questions and with others; its threshold refuses ``--refused-topic`` of the own ones, each judged by weights that
saw nothing of its pool. Test articles are not read. Nothing needs torch.
"""

# ruff: noqa: T201 (a script prints)

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from training_rows import Row, read_rows, written_rows

from palier.adapters.guard_training import (
    CLASSES,
    AttackModel,
    Example,
    Folds,
    Recipe,
    as_weights,
    attack_scores,
    fit_attack,
    fit_topic,
    folds_of,
    read_examples,
    threshold_for,
    topic_rows,
    with_carriers,
)
from palier.adapters.onnx_cross_encoder import OnnxCrossEncoder
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.question_pools import Pool, hits_of, pools_of
from palier.adapters.recent_vectors import RecentVectors
from palier.adapters.workspace import write_text
from palier.domain.answering import Question
from palier.domain.documents import Lang, Passage, sha256_text
from palier.domain.guarding import (
    ATTACKS,
    HONEST,
    LANGUAGES,
    GuardWeights,
    TextClassifier,
    linear_suspicions,
    log_odds,
    off_topic_score,
)
from palier.domain.scoring import TextEncoder
from palier.params import load_params
from palier.settings import repository_root

POOL_PASSAGES = 25
ARTICLE = "article "
STRANGERS = 40
"""Questions of other pools that each pool is asked."""
HELD_OUT_FOLD = 0
"""Of families, topics and articles: the classifier has not learnt from it."""


def folds_of_examples(folder: Path) -> Folds:
    """Folds of all families and topics of ``folder``; they depend on nothing else."""
    return folds_of(read_examples(folder, np.random.default_rng(0), n_topics=1_000))


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


@dataclass(frozen=True, slots=True)
class TopicTable:
    """TOPIC of each question, whether it is off topic in its pool, and which pool that is; row by row."""

    rows: NDArray[np.float64]
    off: NDArray[np.bool_]
    asked: Sequence[Question]
    pools: NDArray[np.str_]


def topic_table(
    found: Sequence[Pool],
    examples: Sequence[Example],
    encoder: TextEncoder,
    dense_weight: Mapping[Lang, float],
    rng: np.random.Generator,
) -> TopicTable:
    """Each pool's own questions and strangers' (other pools', and the off-topic examples)."""
    rows, off, asked, names = [], [], [], []
    for pool in found:
        others = [q for other in found if other.lang == pool.lang and other.name != pool.name for q in other.questions]
        drawn = [others[i] for i in rng.permutation(len(others))[:STRANGERS]]
        drawn += [e.text for e in examples if e.kind == "off_topic" and e.lang == pool.lang]
        questions = [Question(text, pool.lang) for text in (*pool.questions, *drawn)]
        rows.append(topic_rows(questions, hits_of(pool, questions, encoder, dense_weight[pool.lang])))
        off += [False] * len(pool.questions) + [True] * len(drawn)
        asked += questions
        names += [f"{pool.lang} {pool.name}"] * len(questions)
    return TopicTable(np.concatenate(rows), np.array(off), asked, np.array(names))


def left_out_topic_scores(table: TopicTable, attack: AttackModel) -> NDArray[np.float64]:
    """What weights that saw nothing of a question's pool make of it."""
    scores = np.zeros(len(table.asked))
    for name in np.unique(table.pools):
        others = table.pools != name
        weights = as_weights(attack, fit_topic(table.rows[others], table.off[others]))
        for place in np.flatnonzero(~others).tolist():
            scores[place] = off_topic_score(weights, table.rows[place], table.asked[place])
    return scores


def topic_thresholds(table: TopicTable, attack: AttackModel, share: float) -> dict[Lang, float]:
    """By language, what refuses ``share`` of the questions that are on topic; prints how many others that catches."""
    scores = left_out_topic_scores(table, attack)
    langs = np.array([question.lang for question in table.asked])
    thresholds: dict[Lang, float] = {}
    for lang in LANGUAGES:
        own = scores[(langs == lang) & ~table.off]
        thresholds[lang] = threshold_for(own, share)
        caught = round(float((scores[(langs == lang) & table.off] >= thresholds[lang]).mean()), 3)
        told = {"off_topic": lang, "threshold": thresholds[lang], "on_topic": len(own), "caught": caught}
        print(json.dumps(told), flush=True)
    return thresholds


@dataclass(frozen=True, slots=True)
class Scored:
    """Texts with the suspicion of weights that saw neither their family nor their topic."""

    examples: Sequence[Example]
    scores: NDArray[np.float64]

    def of(self, lang: Lang, kind: str) -> NDArray[np.float64]:
        """Scores of the texts of a language and kind."""
        own = [example.lang == lang and example.kind == kind for example in self.examples]
        return self.scores[np.array(own)]


def held_out_fold(
    examples: Sequence[Example],
    seen: Sequence[Example],
    folds: Folds,
    encoder: TextEncoder,
    recipe: Recipe,
    rng: np.random.Generator,
) -> tuple[GuardWeights, list[Example]]:
    """Linear weights that saw nothing of HELD_OUT_FOLD, and its texts; injections get their honest company afterwards,
    so that no text of one side stands in the other.
    """
    learn, test = (with_carriers(part, rng) for part in folds.splits(examples, HELD_OUT_FOLD))
    weights = as_weights(fit_attack([*learn, *seen], encoder, recipe))
    return weights, [example for example in test if example.kind in CLASSES]


def shares_of(
    fold: GuardWeights, texts: Sequence[Example], encoder: TextEncoder, classifier: TextClassifier
) -> dict[Lang, tuple[float, float, float]]:
    """`GuardWeights.classifier` by logistic regression on whole texts that neither model has learnt from."""
    linear = linear_suspicions(fold, [e.text for e in texts], [e.lang for e in texts], encoder)
    marks = [float(classifier.score(example.lang, [example.text])[0]) for example in texts]
    rows = np.column_stack([log_odds(linear), marks])
    attacks = np.array([example.kind != HONEST for example in texts])
    langs = np.array([example.lang for example in texts])
    shares: dict[Lang, tuple[float, float, float]] = {}
    for lang in LANGUAGES:
        model = LogisticRegression(class_weight="balanced").fit(rows[langs == lang], attacks[langs == lang])
        own, other = model.coef_[0]
        shares[lang] = round(float(own), 4), round(float(other), 4), round(float(model.intercept_[0]), 4)
    return shares


def golden_questions() -> list[Example]:
    """What customers ask the sample assistant: its golden questions for training and validation."""
    found = []
    for lang in LANGUAGES:
        lines = (repository_root() / "samples" / "golden" / f"{lang}.jsonl").read_text(encoding="utf-8").splitlines()
        asked = [row["question"] for row in map(json.loads, lines) if row["split"] != "test"]
        found += [Example(HONEST, "golden", "", lang, text) for text in asked]
    return found


def attack_thresholds(
    weights: GuardWeights,
    public: Sequence[Example],
    left_out: Scored,
    judges: tuple[TextEncoder, TextClassifier],
    recipe: Recipe,
) -> dict[Lang, float]:
    """By language, what refuses no more than the recipe allows of ``public`` and golden questions and of look-alikes
    left out.

    Prints what share of the attacks of families left out it catches.
    """
    thresholds: dict[Lang, float] = {}
    for lang in LANGUAGES:
        honest = {
            "public": attack_scores(weights, [example for example in public if example.lang == lang], *judges),
            "golden": attack_scores(weights, [e for e in golden_questions() if e.lang == lang], *judges),
            "alike": left_out.of(lang, HONEST),
        }
        allowed = {"public": recipe.refused, "golden": recipe.refused_golden, "alike": recipe.refused_alike}
        least = max(threshold_for(scores, allowed[name]) for name, scores in honest.items())
        refused = {name: round(float((scores >= least).mean()), 4) for name, scores in honest.items()}
        caught = {kind: round(float((left_out.of(lang, kind) >= least).mean()), 3) for kind in ATTACKS}
        print(json.dumps({"attack": lang, "threshold": least, "refused": refused, "caught": caught}), flush=True)
        thresholds[lang] = least
    return thresholds


def auc_by_kind(left_out: Scored) -> dict[str, float]:
    """AUC of each kind of attack against honest examples of its language."""
    found = {}
    for lang in LANGUAGES:
        honest = left_out.of(lang, HONEST)
        for kind in ATTACKS:
            own = left_out.of(lang, kind)
            labels = np.repeat([0, 1], [len(honest), len(own)])
            found[f"{lang}.{kind}"] = round(float(roc_auc_score(labels, np.concatenate([honest, own]))), 4)
    return found


def kept_topic(path: Path) -> dict[str, Any]:
    """The second half as it stands in ``path``."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in fields.items() if name.startswith("topic_")}


def made_topic(
    args: argparse.Namespace,
    attack: AttackModel,
    examples: Sequence[Example],
    encoder: TextEncoder,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The second half, fitted on pools of validation articles."""
    found = pools(read_rows(args.data, ["validation"]), rng, args.pool_questions)
    dense_weight = load_params(repository_root() / "params.yaml").retrieval.dense_weight
    table = topic_table(found, examples, encoder, dense_weight, rng)
    weights = as_weights(attack, fit_topic(table.rows, table.off))
    fields = {name: value for name, value in weights.model_dump().items() if name.startswith("topic_")}
    return fields | {"topic_threshold": topic_thresholds(table, attack, args.refused_topic)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="the starter encoder as int8 ONNX")
    parser.add_argument("--classifier", type=Path, required=True, help="int8 ONNX of the weights that lie in --out")
    parser.add_argument("--examples", type=Path, default=Path(__file__).parent / "guard_examples")
    parser.add_argument("--out", type=Path, required=True, help="guard.json goes here")
    parser.add_argument("--honest", type=int, default=2000, help="public and written questions of each language")
    parser.add_argument("--pool-questions", type=int, default=200)
    parser.add_argument("--regularisation", type=float, default=Recipe().regularisation)
    parser.add_argument("--lexical-weight", type=float, default=Recipe().lexical_weight)
    parser.add_argument("--vector-weight", type=float, default=Recipe().vector_weight)
    parser.add_argument("--refused", type=float, default=Recipe().refused)
    parser.add_argument("--refused-golden", type=float, default=Recipe().refused_golden)
    parser.add_argument("--refused-alike", type=float, default=Recipe().refused_alike)
    parser.add_argument("--refused-topic", type=float, default=0.01)
    parser.add_argument("--keep-topic", action="store_true", help="leave the second half as it stands in --out")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    encoder = RecentVectors(OnnxEncoder(args.encoder), size=100_000)
    shares_refused = (args.refused, args.refused_golden, args.refused_alike)
    recipe = Recipe(args.regularisation, args.lexical_weight, args.vector_weight, *shares_refused)
    examples = read_examples(args.examples, rng)
    asked = [*read_rows(args.data, ["train"]), *written_rows(args.data)]
    honest = honest_questions(asked, args.honest, rng)
    seen = [example for example in honest if not is_held_out(example)]
    public = [example for example in honest if is_held_out(example)]
    classifier = OnnxCrossEncoder(args.classifier)
    fold, unread = held_out_fold(examples, seen, folds_of_examples(args.examples), encoder, recipe, rng)
    shares = shares_of(fold, [*unread, *public], encoder, classifier)
    heard = fold.model_copy(update={"classifier": shares})
    left_out = Scored(unread, attack_scores(heard, unread, encoder, classifier))
    alone = Scored(unread, attack_scores(fold, unread, encoder))
    told = {"shares": shares, "auc_left_out": auc_by_kind(left_out), "auc_left_out_linear": auc_by_kind(alone)}
    print(json.dumps(told), flush=True)
    attack = fit_attack([*with_carriers(examples, rng), *seen], encoder, recipe)
    weights = as_weights(attack).model_copy(update={"classifier": shares})
    least = attack_thresholds(weights, public, left_out, (encoder, classifier), recipe)
    path = args.out / "guard.json"
    topic = kept_topic(path) if args.keep_topic else made_topic(args, attack, examples, encoder, rng)
    write_text(path, weights.model_copy(update={"attack_threshold": least, **topic}).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
