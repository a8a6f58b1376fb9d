"""How much the guard catches, and how many honest questions it refuses, against a list of keywords in the same run.

`palier bench guard --data FILE… --out FILE.json`. Attacks and off-topic questions are the hand-written ones of
`models/guard_examples/unseen`: families and topics that no weight was fitted on and no threshold was chosen with (and
written after the lists of words were closed). Honest are the questions of the QA files' test articles (of each article
group's own passages, searched in memory), and the honest examples of that folder, which speak of rules, theft and
insults as customers do. Measured is the guard of `models/guard-starter` with its own thresholds, whole: text (with its
classifier, where it has one) and topic.

The price: a few hundred attacks by one hand. Whoever attacks for a living will find others.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.exported_models import exported_encoder, exported_guard_classifier
from bench.report import QaRow, Report, TitlesAsked, metric, on_titles, percentile, read_qa, tell
from palier.adapters.catalogue import load_catalogue, resolve, sha256_file
from palier.adapters.golden_guard import GUARD_FILE, STARTER
from palier.adapters.guard_training import Example, read_examples
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.question_pools import Pool, hits_of, pools_of
from palier.adapters.recent_vectors import RecentVectors
from palier.domain.answering import Question
from palier.domain.documents import Lang, Passage, sha256_text
from palier.domain.guarding import ATTACKS, HONEST, LANGUAGES, Guard, GuardWeights
from palier.domain.scoring import TextEncoder
from palier.domain.words import without_accents
from palier.params import load_params
from palier.settings import repository_root

KEYWORDS = (
    "ignore previous", "ignore all", "previous instructions", "system prompt", "your instructions", "jailbreak",
    "dan mode", "developer mode", "act as", "pretend to be",
    "you are now", "no restrictions", "bypass", "reveal your", "override",
    "drop table", "<script", "[inst]", "base64", "password", "credit card", "stolen", "fake", "fraud", "hack", "steal",
    "launder", "bomb", "kill", "idiot", "stupid", "moron", "shut up", "hate you", "naked", "sex",
    "ignore les", "ignore toutes", "instructions precedentes", "prompt systeme", "tes instructions", "mode developpeur",
    "fais semblant", "tu es maintenant", "sans restriction", "contourner", "revele", "mot de passe", "carte bancaire",
    "vole", "faux", "fausse", "fraude", "pirater", "voler",
    "blanchir", "bombe", "tuer", "imbecile", "stupide", "cretin",
    "ferme-la", "je te deteste", "nue", "sexe",
)  # fmt: skip
"""What such lists hold, in both languages, accents aside; written before anything was measured with it."""
POOL_PASSAGES = 25

Judge = Callable[[Question, Sequence[Any]], str | None]


def run(
    data: Sequence[Path],
    out: Path,
    *,
    max_questions: int | None = 400,
    asked_titles: TitlesAsked = "test",
    seed: int = 7,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds; ``max_questions`` of each language are honest public ones.

    Raises InputError for files without a question about an article of ``asked_titles``.
    """
    params = load_params(repository_root() / "params.yaml")
    section, weight = params.train_encoder, params.retrieval.dense_weight
    encoder = RecentVectors(OnnxEncoder(exported_encoder(section.base, section.starter)), size=100_000)
    path = resolve(STARTER) / GUARD_FILE
    weights = GuardWeights.model_validate_json(path.read_text(encoding="utf-8"))
    rng = np.random.default_rng(seed)
    thresholds = {"attack": dict(weights.attack_threshold), "topic": dict(weights.topic_threshold)}
    told = {
        "max_questions": max_questions,
        "asked_titles": asked_titles,
        "seed": seed,
        "guard_sha256": sha256_file(path),
        "thresholds": thresholds,
    }
    told["starter_files"] = dict(load_catalogue()[STARTER].files)
    report = Report("guard", told)
    rows = _read(data, report, asked_titles)
    examples = read_examples(repository_root() / "models" / "guard_examples" / "unseen", rng)
    guard = Guard(weights, encoder, exported_guard_classifier() if weights.classifier else None)
    results: dict[str, Any] = {
        "guard": _measured(_guarded(guard), rows, examples, encoder, weight, max_questions, rng),
        "keywords": _measured(_by_keywords, rows, examples, encoder, weight, max_questions, rng),
        **_times(guard, examples),
    }
    return report.write(out, results)


def _read(data: Sequence[Path], report: Report, asked_titles: TitlesAsked) -> list[QaRow]:
    rows = []
    for path in data:
        read = read_qa(path)
        report.add_data(path, len(read))
        rows += read
    return on_titles(rows, asked_titles)


def _guarded(guard: Guard) -> Judge:
    def judge(question: Question, hits: Sequence[Any]) -> str | None:
        kind = guard.judge(question).kind
        return kind if kind or not hits else guard.judge_topic(question, hits).kind

    return judge


def _by_keywords(question: Question, hits: Sequence[Any]) -> str | None:  # noqa: ARG001 (a list knows no passages)
    plain = without_accents(question.text).casefold()
    return "attack" if any(keyword in plain for keyword in KEYWORDS) else None


def _measured(
    judge: Judge,
    rows: Sequence[QaRow],
    examples: Sequence[Example],
    encoder: TextEncoder,
    dense_weight: Mapping[Lang, float],
    max_questions: int | None,
    rng: np.random.Generator,
) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for lang in LANGUAGES:
        own = [example for example in examples if example.lang == lang]
        public, strangers = _pooled(
            judge, [row for row in rows if row.lang == lang], own, lang, encoder, dense_weight, max_questions
        )
        refused = {e: judge(Question(e.text, lang), ()) is not None for e in own}
        attacks = [refused[e] for e in own if e.kind in ATTACKS]
        results[lang] = {
            "caught": metric(attacks, rng),
            "caught_by_kind": {kind: metric([refused[e] for e in own if e.kind == kind], rng) for kind in ATTACKS},
            "caught_off_topic": metric(strangers, rng),
            "refused_public": metric(public, rng),
            "refused_examples": metric([refused[e] for e in own if e.kind == HONEST], rng),
        }
        tell(f"{lang}: {results[lang]}")
    return results


def _pooled(
    judge: Judge,
    rows: Sequence[QaRow],
    examples: Sequence[Example],
    lang: Lang,
    encoder: TextEncoder,
    dense_weight: Mapping[Lang, float],
    max_questions: int | None,
) -> tuple[list[bool], list[bool]]:
    """(questions refused, off-topic questions caught), each question put to the passages of its own pool of articles.

    Off topic are the examples of that kind, put to every pool.
    """
    passages = list({row.context: _passage(row, lang) for row in rows}.values())
    pools = pools_of(passages, [(row.title, row.question) for row in rows], lang, least=POOL_PASSAGES, most=60)
    off_topic = [example.text for example in examples if example.kind == "off_topic"]
    refused, caught = [], []
    for pool in pools:
        share = len(pool.questions) if max_questions is None else -(-max_questions // len(pools))
        asked = pool.questions[:: max(1, len(pool.questions) // share)][:share]
        refused += _refusals(judge, pool, asked, encoder, dense_weight)
        caught += _refusals(judge, pool, off_topic, encoder, dense_weight)
    return refused, caught


def _refusals(
    judge: Judge, pool: Pool, texts: Sequence[str], encoder: TextEncoder, dense_weight: Mapping[Lang, float]
) -> list[bool]:
    questions = [Question(text, pool.lang) for text in texts]
    found = hits_of(pool, questions, encoder, dense_weight[pool.lang]) if questions else []
    return [judge(question, hits) is not None for question, hits in zip(questions, found, strict=True)]


def _passage(row: QaRow, lang: Lang) -> Passage:
    title = row.title.replace("_", " ")
    return Passage(sha256_text(row.context)[:24], row.title, lang, title, "", row.context, 1, 1)


def _times(guard: Guard, examples: Sequence[Example]) -> Mapping[str, float | None]:
    """Milliseconds of judging a text whose vector is known, as it is where retrieval has asked for it."""
    spent = []
    for example in examples:
        question = Question(example.text, example.lang)
        guard.judge(question)
        started = time.perf_counter()
        guard.judge(question)
        spent.append(1000 * (time.perf_counter() - started))
    return {"ms_p50": percentile(spent, 50), "ms_p95": percentile(spent, 95)}
