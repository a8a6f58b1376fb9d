"""Beliefs learnt from recorded outcomes are those that a question meets in use, and survive a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from palier.adapters.beliefs.from_outcomes import (
    MIN_QUESTIONS,
    BeliefTables,
    beliefs_of,
    learn_from_outcomes,
    why_not_learnt,
)
from palier.adapters.beliefs.learning import Outcomes, useful_models
from palier.adapters.beliefs.store import load_believer, save_believer
from palier.domain.answering import Cascade, Hit, Question, RungAnswer, Step, climb
from palier.domain.beliefs.texts import word_counts
from palier.domain.scoring import ANY_RUNG, LearnedScorer, LogisticHead, ScorerWeights
from palier.errors import IntegrityError, NotReadyError

N_QUESTIONS = 480


class WordEncoder:
    """A real, small encoder: hashed words of each text at length 1, (n, 48)."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        counts = word_counts(texts, 48).toarray() + 1e-3
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True)
class Saying:
    """A rung that says one thing."""

    name: str
    text: str

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        return RungAnswer(self.name, self.text)


def sums(n: int = N_QUESTIONS) -> pd.DataFrame:
    """Sums asked of three rungs: small ones are wrong when numbers are large, and hedge when wrong now and then."""
    rng = np.random.default_rng(0)
    rows = []
    for at in range(n):
        a, b = int(rng.integers(1, 10 ** rng.integers(1, 5))), int(rng.integers(1, 99))
        for rung, skill, price in (("large", 0.9, 40), ("small", 0.55, 1), ("middle", 0.75, 4)):
            right = rng.random() < skill + 0.1 * (a < 100)
            said = a + b if right else a + b + int(rng.integers(1, 9))
            hedge = "Perhaps " if not right and rng.random() < 0.5 else ""
            answer = f"{hedge}we add both. The answer is {said}."
            query = {"query_id": f"q{at:03d}", "query": f"How much is {a} plus {b}?", "document_id": f"{a} {b}"}
            told = {"model": rung, "answer": answer, "correct": float(right), "cost_nanousd": price}
            rows.append(query | told | {"split": "test" if at % 4 == 0 else "validation"})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def learnt() -> BeliefTables:
    return learn_from_outcomes(sums(), WordEncoder(), 7, lambda done, total, what: None)


@pytest.mark.model
def test_what_is_in_use_says_what_was_recorded(learnt: BeliefTables, tmp_path: Path) -> None:
    """Test rows were judged by the models in use: asked one by one, from a file, these say the same to the digit."""
    save_believer(learnt.believer, tmp_path / "beliefs.safetensors")
    believer = load_believer(tmp_path / "beliefs.safetensors")
    assert believer.rungs == ("small", "middle", "large")
    outcomes = sums()
    scores = learnt.scores.set_index(["query_id", "model"])
    beliefs = learnt.beliefs.set_index(["seen", "query_id", "model"])["belief"]
    for query_id, rows in list(outcomes[outcomes["split"] == "test"].groupby("query_id"))[:25]:
        query = str(rows["query"].iloc[0])
        vector = WordEncoder().embed([query])[0]
        said = dict(zip(rows["model"], rows["answer"], strict=True))
        promise = believer.promise(query, vector)
        for rung in said:
            assert promise[rung] == pytest.approx(scores.at[(query_id, rung), "promise"], abs=1e-9)
            alone = believer.believe(query, promise, {rung: said[rung]})
            assert alone[rung] == pytest.approx(scores.at[(query_id, rung), "score"], abs=1e-9)
        for seen in ("small + large", "small + middle + large"):
            part = {rung: said[rung] for rung in seen.split(" + ")}
            for rung, belief in believer.believe(query, promise, part).items():
                assert belief == pytest.approx(beliefs.at[(seen, query_id, rung)], abs=1e-9)


@pytest.mark.model
def test_a_scorer_with_beliefs_judges_plain_answers_by_them_and_leads_a_climb(learnt: BeliefTables) -> None:
    """Scores and beliefs are the believer's; with them a doubtful cheap answer is climbed over, a sure one is not."""
    head = LogisticHead(mean=(), scale=(), weights=(), bias=0.0, n_rows=0)
    heads = {ANY_RUNG: head, "small": head}
    scorer = LearnedScorer(ScorerWeights(answered=heads, abstained=heads), WordEncoder(), None, learnt.believer)
    asked = Question("How much is 3 plus 4?", "en")
    sure, doubtful = "we add both. The answer is 7.", "Perhaps we add both. The answer is 9."
    cascade = Cascade(steps=(Step(rung="small", threshold=0.3), Step(rung="large", threshold=0.0)), by_beliefs=True)
    for said, n_asked in ((sure, 1), (doubtful, 2)):
        rungs = {name: Saying(name, text) for name, text in (("small", said), ("large", sure))}
        done = climb(asked, (), cascade, rungs, scorer)
        texts = {attempt.answer.rung: attempt.answer.text for attempt in done.attempts}
        promised = learnt.believer.promise(asked.text, WordEncoder().embed([asked.text])[0])
        believed = learnt.believer.believe(asked.text, promised, texts)
        assert {attempt.answer.rung: attempt.score for attempt in done.attempts} == believed
        assert len(done.attempts) == n_asked
        assert done.final.answer.text == sure
    assert (
        scorer.score(asked, (), RungAnswer("small", sure), ()) == scorer.believe(asked, [RungAnswer("small", sure)])[0]
    )
    assert scorer.score(asked, (), RungAnswer(ANY_RUNG, sure), ()) == 0.5, "answers from elsewhere keep their head"


def test_a_scorer_without_beliefs_says_what_to_do() -> None:
    """A cascade that climbs by beliefs beside a scorer that has none is an error with its remedy."""
    scorer = LearnedScorer(ScorerWeights(answered={}, abstained={}), WordEncoder())
    with pytest.raises(NotReadyError, match="train-scorer"):
        scorer.promise(Question("How much?", "en"), "small")


@pytest.mark.model
def test_the_more_was_seen_the_more_is_known(learnt: BeliefTables) -> None:
    """On test rows: promises know a little, scores more (wrong answers hedge), beliefs most (right answers agree)."""
    outcomes = sums().query("split == 'test' and model == 'small'").set_index("query_id")
    right = outcomes["correct"]
    scores = learnt.scores.query("model == 'small'").set_index("query_id").loc[outcomes.index]
    seen = learnt.beliefs.query("model == 'small' and seen == 'small + middle + large'").set_index("query_id")
    knows = [
        roc_auc_score(right, told) for told in (scores["promise"], scores["score"], seen.loc[outcomes.index, "belief"])
    ]
    assert knows[1] > knows[0] + 0.05
    assert knows[2] > knows[1] + 0.05


@pytest.mark.model
def test_sets_become_arrays_by_rising_cost(learnt: BeliefTables) -> None:
    """All sets of two and three rungs are there, their columns in the order of the ladder."""
    ids, ladder = ["q004", "q000"], ("small", "middle", "large")
    found = beliefs_of(learnt.beliefs[learnt.beliefs["query_id"].isin(ids)], ids, ladder)
    assert set(found) == {frozenset(some) for some in ((0, 1), (0, 2), (1, 2), (0, 1, 2))}
    rows = learnt.beliefs.query("seen == 'small + large' and query_id == 'q004'").set_index("model")["belief"]
    assert found[frozenset({0, 2})][0].tolist() == [rows["small"], rows["large"]]


def test_too_little_to_learn_from_is_said() -> None:
    """Few questions, one rung, and holes each have their reason."""
    outcomes = sums(300)
    assert why_not_learnt(outcomes) is None
    assert f"at least {MIN_QUESTIONS}" in str(why_not_learnt(sums(100)))
    assert "one document" in str(why_not_learnt(outcomes.assign(document_id="en/menu")))
    assert "one rung" in str(why_not_learnt(outcomes.query("model == 'small'")))
    assert "1 outcomes are missing" in str(why_not_learnt(outcomes.iloc[1:]))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """Neither noise nor a class that is not named can be read."""
    (tmp_path / "noise").write_bytes(b"not tensors")
    with pytest.raises(IntegrityError, match="train-scorer"):
        load_believer(tmp_path / "noise")


def outcomes(quality: list[float], price: list[float], n: int = 200) -> Outcomes:
    """Outcomes of models that are right as often as ``quality`` says, on the first rows."""
    correct = np.stack([np.arange(n) < share * n for share in quality], axis=1).astype(float)
    queries = [str(row) for row in range(n)]
    return Outcomes(queries, np.full(correct.shape, "", object), correct, np.tile(price, (n, 1)))


def test_a_model_far_behind_a_cheaper_one_is_left_out() -> None:
    """Nobody climbs to a model that a cheaper one beats by far; of any ladder two models stay."""
    rows = np.arange(200)
    assert useful_models(outcomes([0.4, 0.6, 0.45, 0.58, 0.7], [1, 2, 3, 4, 5]), rows) == (0, 1, 3, 4)
    assert useful_models(outcomes([0.9, 0.2], [1, 2]), rows) == (0, 1)
