"""What is in use gives way to what is shown to be better, or as good and cheaper, and to nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from palier.domain.bootstrap import Interval
from palier.domain.fusion import fuse
from palier.domain.ranking_metrics import ndcg
from palier.domain.retrieval_choice import (
    Answered,
    Configuration,
    Reread,
    Rival,
    Rule,
    best_tuned,
    choose_reread,
    choose_search,
    configured,
    decide,
)
from palier.domain.retrieval_sweep import (
    Chunking,
    Found,
    Point,
    Setting,
    Tuning,
    choose_row,
    cross_fitted,
    folds_of,
    judge,
    score_tunings,
    tunings_of,
)
from palier.params import RetrievalParams

SETTING = Setting(Chunking(80), ("title", "text"), 0.5, 50, "min_max")
TUNINGS = (Tuning(0.2), Tuning(0.5))
N = 60


def point(quality: tuple[float, float], ms: float, setting: Setting = SETTING, seed: int = 0) -> Point:
    """A point whose two tunings have these mean qualities on both languages, with noise shared between points."""
    noise = np.random.default_rng(seed).uniform(-0.2, 0.2, N)
    rows = np.clip(np.array(quality)[:, None] + noise, 0, 1)
    return Point(setting, TUNINGS, {"en": np.stack([rows] * 3), "fr": np.stack([rows] * 3)}, ms, 2 * ms)


@pytest.fixture
def rule() -> Rule:
    folds = folds_of([f"document-{i}" for i in range(N)])
    return Rule({"en": folds, "fr": folds}, tie_margin=0.01, seed=7)


def in_use(quality: float = 0.5, ms: float = 10.0) -> Configuration:
    return configured("in use", point((quality, 0.1), ms), {"en": Tuning(0.2), "fr": Tuning(0.2)})


def test_offline_fusion_is_the_fusion_that_is_served():
    found = Found({"a": 9.0, "b": 5.0, "c": 1.0}, {"c": 0.9, "d": 0.8, "a": 0.1}, frozenset({"d"}))
    for setting in (SETTING, replace(SETTING, fusion="rrf"), replace(SETTING, candidates=2)):
        n = setting.candidates
        sides = (dict(list(found.bm25.items())[:n]), dict(list(found.cosine.items())[:n]))
        served = [key for key, _ in fuse(*sides, 0.5, setting.fusion, 60)]
        assert found.ranking(setting, Tuning(0.5)) == served
        scores = score_tunings([found], setting, TUNINGS)
        assert scores.shape == (3, 2, 1)
        assert scores[0, 1, 0] == ndcg(served, {"d"})


def test_a_point_comes_back_from_json_as_it_was():
    before = point((0.5, 0.6), 12.0)
    after = Point.parse(before.plain())
    assert (after.setting, after.tunings, after.ms_p95) == (before.setting, before.tunings, before.ms_p95)
    assert np.allclose(after.scores["fr"], before.scores["fr"], atol=1e-5)


def test_constants_are_combined_for_reciprocal_ranks_only():
    assert len(tunings_of("min_max", [0.1, 0.5, 0.1], [10, 60])) == 2
    assert len(tunings_of("rrf", [0.1, 0.5, 0.1], [10, 60])) == 4


def test_a_fold_keeps_documents_together_and_held_out_questions_never_choose():
    folds = folds_of(["a", "b", "a", "c", "b"])
    assert (folds[0], folds[1]) == (folds[2], folds[4])
    seen = []

    def choose(known):  # type: ignore[no-untyped-def]
        seen.append(known["en"])
        return {"en": known["en"].astype(float)}  # 1.0 exactly where the choice could look

    assert (cross_fitted({"en": folds}, choose)["en"] == 0).all()
    assert len(seen) == 5


def test_chance_alone_replaces_nothing(rule: Rule):
    """The best of forty equal settings looks better; cross-fitted, it is not."""
    rng = np.random.default_rng(3)
    points = []
    for i in range(40):
        scores = {lang: np.stack([rng.uniform(0, 1, (2, N))] * 3) for lang in ("en", "fr")}
        points.append(Point(replace(SETTING, candidates=10 + i), TUNINGS, scores, 10.0, 20.0))
    current = configured("in use", points[0], {"en": Tuning(0.2), "fr": Tuning(0.2)})
    choice = choose_search(points, current, rule)
    assert best_tuned("", points[0]).quality < choice.configuration.quality
    assert choice.verdict == "kept"


def test_a_better_setting_is_found_and_a_tie_goes_to_the_cheaper(rule: Rule):
    other = replace(SETTING, candidates=100)
    better = choose_search([point((0.5, 0.1), 10), point((0.2, 0.6), 30, other)], in_use(), rule)
    assert (better.verdict, better.configuration.setting, better.configuration.tunings["en"]) == (
        "better",
        other,
        Tuning(0.5),
    )
    few = replace(SETTING, candidates=20)
    cheaper = choose_search([point((0.5, 0.1), 10), point((0.5, 0.1), 5, few)], in_use(), rule)
    assert (cheaper.verdict, cheaper.configuration.setting) == ("cheaper", few)
    same = choose_search([point((0.5, 0.1), 10), point((0.4, 0.1), 5, few)], in_use(), rule)
    assert same.verdict == "kept"


def test_what_helps_one_language_and_harms_the_other_is_no_improvement(rule: Rule):
    mixed = point((0.2, 0.9), 10, replace(SETTING, candidates=100))
    mixed.scores["fr"][:] -= 0.5  # type: ignore[index]
    choice = choose_search([mixed], in_use(), rule)
    assert choice.by_language["fr"].high < 0 < choice.by_language["en"].low
    assert choice.verdict == "kept"


def test_the_verdict_follows_the_interval():
    assert judge(Interval(0.1, 0.01, 0.2, 9), 90, 10, 0.01) == "better"
    assert judge(Interval(0.0, -0.005, 0.005, 9), 5, 10, 0.01) == "cheaper"
    assert judge(Interval(0.0, -0.005, 0.005, 9), 9.5, 10, 0.01) == "kept"
    assert judge(Interval(0.0, -0.05, 0.05, 9), 5, 10, 0.01) == "kept"


def test_the_row_chosen_is_the_middle_of_the_plateau():
    scores = np.array([[0.1], [0.5], [0.5], [0.5], [0.2]])
    assert choose_row(scores, np.array([True])) == 2
    assert choose_row(scores, np.array([False])) == 0


def test_reranking_is_switched_on_where_it_helps_and_reads_no_deeper_than_it_must(rule: Rule):
    noise = np.random.default_rng(1).uniform(-0.1, 0.1, N)
    rereads = [Reread(), Reread(10, 0.5), Reread(20, 0.5)]
    row, gains = choose_reread(np.stack([0.4 + noise, 0.6 + noise, 0.605 + noise]), rereads, 0, "en", rule)
    assert (row, gains.mean().round(3)) == (1, 0.2)
    row, gains = choose_reread(np.stack([0.4 + noise, 0.4 + noise, 0.4 + noise]), rereads, 2, "en", rule)
    assert (row, abs(gains).max()) == (0, 0)
    row, gains = choose_reread(np.stack([0.4 + noise, 0.3 + noise, 0.3 + noise]), rereads, 0, "en", rule)
    assert (row, abs(gains).max()) == (0, 0)


def test_reranking_stays_as_it_is_where_all_questions_are_of_one_document():
    rule = Rule({"fr": folds_of(["fr/menu"] * 5)}, tie_margin=0.01, seed=7)
    scores = np.array([[0.4], [0.9]]).repeat(5, axis=1)
    row, gains = choose_reread(scores, [Reread(), Reread(10, 0.5)], 0, "fr", rule)
    assert (row, abs(gains).max()) == (0, 0)


def test_another_cut_needs_better_answers_and_worse_answers_refuse_anything(rule: Rule):
    noise = np.random.default_rng(2).uniform(-0.1, 0.1, 2 * N)

    def answered(f1: float, usd: float = 1e-6) -> Answered:
        return Answered(f1 + noise, usd, 50.0)

    current = Rival(in_use())
    cut = replace(in_use(0.9), name="other cut", setting=replace(SETTING, chunking=Chunking(140)))
    assert decide(current, [Rival(cut)], rule)[0] is current
    current = replace(current, answered=answered(0.5))
    better, reason = decide(current, [Rival(cut, answered=answered(0.6))], rule)
    assert better.configuration.name == "other cut"
    assert "F1 +0.100" in reason
    assert decide(current, [Rival(cut, answered=answered(0.5))], rule)[0] is current
    choice = choose_search([point((0.2, 0.6), 30)], current.configuration, rule)
    assert choice.verdict == "better"
    assert decide(current, [Rival(choice.configuration, choice, answered(0.4))], rule)[0] is current
    dear, cheap = answered(0.6, 5e-6), answered(0.595, 1e-6)
    rivals = [Rival(cut, answered=dear), Rival(replace(cut, name="cheap"), answered=cheap)]
    assert decide(current, rivals, rule)[0].configuration.name == "cheap"


def test_a_configuration_becomes_a_retrieval_section_and_keeps_what_it_does_not_use():
    now = RetrievalParams(k=10, candidates=50, dense_weight={"en": 0.4, "fr": 0.2}, rrf_constant={"en": 7, "fr": 8})
    chosen = replace(in_use(), tunings={"en": Tuning(0.7)}, rereads={"en": Reread(10, 0.5)})
    section = chosen.retrieval(now)
    assert section.dense_weight == {"en": 0.7, "fr": 0.2}
    assert (section.rrf_constant, section.k) == (now.rrf_constant, 10)
    assert (section.rerank["en"], section.rerank_weight["en"], section.reranks) == (10, 0.5, True)
    ranks = replace(chosen, setting=replace(SETTING, fusion="rrf"), tunings={"en": Tuning(0.5, 10)})
    assert ranks.retrieval(now).rrf_constant == {"en": 10, "fr": 8}
