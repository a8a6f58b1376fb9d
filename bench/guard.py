"""How much the guard catches, and how many honest questions it refuses, against a list of keywords in the same run.

`palier bench guard --data FILE… --out FILE.json`. Attacks and off-topic questions are the hand-written ones of
`models/guard_examples/unseen`: families and topics that no weight was fitted on and no threshold was chosen with (and
written after the lists of words were closed). Honest are the questions of the QA files' test articles (of each article
group's own passages, searched in memory), and the honest examples of that folder, which speak of rules, theft and
insults as customers do. Measured is the guard of `models/guard-starter` with its own thresholds: text (with its
classifier, where it has one) and, where there are passages (public and off-topic questions), topic. Whole families, or
articles, are resampled: `n` of an interval counts them, `n_texts` what was judged.

The price: a few hundred attacks by one hand. Whoever attacks for a living will find others. And off-topic questions are
put to each group of passages there is, which an interval takes as given.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.exported_models import exported_encoder, exported_guard_classifier
from bench.report import Metric, QaRow, Report, TitlesAsked, grouped_metric, on_titles, percentile, read_all, tell
from palier.adapters.catalogue import load_catalogue, resolve, sha256_file
from palier.adapters.golden_guard import GUARD_FILE, STARTER
from palier.adapters.guard_training import Example, read_examples
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.question_pools import hits_of, pools_of
from palier.adapters.recent_vectors import RecentVectors
from palier.domain.answering import Hit, Question
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

OFF_TOPIC, PUBLIC = "off_topic", "public"

Judge = Callable[[Question, Sequence[Hit]], str | None]


@dataclass(frozen=True, slots=True)
class Posed:
    """A text with what is found for it; ``group`` names what it is no independent sample of: a family, an article."""

    kind: str
    group: str
    question: Question
    hits: Sequence[Hit] = ()


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
    exact = OnnxEncoder(exported_encoder(section.base, section.starter))
    encoder = RecentVectors(exact, size=100_000)
    path = resolve(STARTER) / GUARD_FILE
    weights = GuardWeights.model_validate_json(path.read_text(encoding="utf-8"))
    rng = np.random.default_rng(seed)
    thresholds = {"attack": dict(weights.attack_threshold), "topic": dict(weights.topic_threshold)}
    told = {
        "max_questions": max_questions,
        "asked_titles": asked_titles,
        "seed": seed,
        "guard_sha256": sha256_file(path),
        "encoder_sha256": exact.sha256,
        "thresholds": thresholds,
    }
    told["starter_files"] = dict(load_catalogue()[STARTER].files)
    report = Report("guard", told)
    rows = on_titles(read_all(data, report), asked_titles)
    examples = read_examples(repository_root() / "models" / "guard_examples" / "unseen", rng)
    guard = Guard(weights, encoder, exported_guard_classifier() if weights.classifier else None)
    posed = {
        lang: _alone(examples, lang) + _pooled(rows, examples, lang, encoder, weight[lang], max_questions, rng)
        for lang in LANGUAGES
    }
    results: dict[str, Any] = {
        "guard": {lang: _measured(_guarded(guard), own, rng) for lang, own in posed.items()},
        "keywords": {lang: _measured(_by_keywords, own, rng) for lang, own in posed.items()},
        **_times(guard, examples),
    }
    tell(f"{results}")
    return report.write(out, results)


def _guarded(guard: Guard) -> Judge:
    def judge(question: Question, hits: Sequence[Hit]) -> str | None:
        kind = guard.judge(question).kind
        return kind if kind or not hits else guard.judge_topic(question, hits).kind

    return judge


def _by_keywords(question: Question, hits: Sequence[Hit]) -> str | None:  # noqa: ARG001 (a list knows no passages)
    plain = without_accents(question.text).casefold()
    return "attack" if any(keyword in plain for keyword in KEYWORDS) else None


def _measured(judge: Judge, posed: Sequence[Posed], rng: np.random.Generator) -> dict[str, Any]:
    refused = [judge(item.question, item.hits) is not None for item in posed]

    def share(*kinds: str) -> dict[str, Any]:
        own = [(said, item.group) for said, item in zip(refused, posed, strict=True) if item.kind in kinds]
        found: Metric = grouped_metric([said for said, _ in own], [group for _, group in own], rng)
        return found | {"n_texts": len(own)}

    return {
        "caught": share(*ATTACKS),
        "caught_by_kind": {kind: share(kind) for kind in ATTACKS},
        "caught_off_topic": share(OFF_TOPIC),
        "refused_public": share(PUBLIC),
        "refused_examples": share(HONEST),
    }


def _alone(examples: Sequence[Example], lang: Lang) -> list[Posed]:
    """Attacks and honest examples, which nothing is searched for."""
    own = [example for example in examples if example.lang == lang and example.kind != OFF_TOPIC]
    return [Posed(e.kind, f"{e.kind}/{e.family}", Question(e.text, lang)) for e in own]


def _pooled(
    rows: Sequence[QaRow],
    examples: Sequence[Example],
    lang: Lang,
    encoder: TextEncoder,
    dense_weight: float,
    max_questions: int | None,
    rng: np.random.Generator,
) -> list[Posed]:
    """Public questions, each put to the passages of its own pool of articles, and off-topic examples, put to all.

    As many questions are drawn from each pool, as far as there are.
    """
    own = [row for row in rows if row.lang == lang]
    passages = list({row.context: _passage(row, lang) for row in own}.values())
    pools = pools_of(passages, [(row.title, row.question) for row in own], lang, least=POOL_PASSAGES, most=60)
    strangers = [(e.family, e.text) for e in examples if e.lang == lang and e.kind == OFF_TOPIC]
    posed = []
    for pool in pools:
        share = None if max_questions is None else -(-max_questions // len(pools))
        articles = {passage.document_id for passage in pool.passages}
        asked = [(row.title, row.question) for row in own if row.title in articles]
        drawn = [asked[i] for i in sorted(rng.permutation(len(asked))[:share].tolist())]
        for kind, texts in ((PUBLIC, drawn), (OFF_TOPIC, strangers)):
            questions = [Question(text, lang) for _, text in texts]
            found = hits_of(pool, questions, encoder, dense_weight) if questions else []
            groups = [group for group, _ in texts]
            posed += [Posed(kind, *item) for item in zip(groups, questions, found, strict=True)]
    return posed


def _passage(row: QaRow, lang: Lang) -> Passage:
    title = row.title.replace("_", " ")
    return Passage(sha256_text(row.context)[:24], row.title, lang, title, "", row.context, 1, 1)


def _times(guard: Guard, examples: Sequence[Example]) -> Mapping[str, float | None]:
    """Processor milliseconds of judging a text whose vector is known, as it is where retrieval has asked for it."""
    spent = []
    for example in examples:
        question = Question(example.text, example.lang)
        guard.judge(question)
        started = time.process_time()
        guard.judge(question)
        spent.append(1000 * (time.process_time() - started))
    return {"ms_p50": percentile(spent, 50), "ms_p95": percentile(spent, 95)}
