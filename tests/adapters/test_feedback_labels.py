"""Thumbs become rows that the scorer learns from: of the rung that still says so, and for less than one row."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from palier.adapters.feedback_labels import read_label_rows, record_labels, write_labels
from palier.adapters.outcome_recorder import Recorder
from palier.adapters.scorer_training import fit_head
from palier.adapters.workspace import Workspace
from palier.domain.answering import Citation, Hit, Question, RungAnswer
from palier.domain.documents import Passage
from palier.domain.feedback import AnswerLabel
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages.train_scorer import fit_scorer

LEEDS = Passage("p1", "en/leeds", "en", "Leeds", "", "The shop closes at 18:30.", 1, 1)


class OnePassage:
    """A retriever over a corpus of one passage."""

    def search(self, question: Question, k: int) -> list[Hit]:
        return [Hit(LEEDS, 1.0)][:k]


class LastWord:
    """A rung that answers with the last word of its first passage."""

    name = "reader"

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        passage = hits[0].passage
        said = passage.text.rstrip(".").split()[-1]
        return RungAnswer(self.name, said, (Citation(passage.passage_id, passage.document_id, passage.text),))


class Letters:
    """An encoder that counts letters."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        counts = np.array([[text.casefold().count(chr(97 + i)) + 1 for i in range(26)] for text in texts], np.float32)
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True))


def label(answer: str, quality: float = 0.8, rung: str = "reader", number: int = 0) -> AnswerLabel:
    return AnswerLabel(
        id=f"feedback-{number}",
        lang="en",
        question=f"When does shop {number} in Leeds close?",
        answer=answer,
        rung=rung,
        document_id="en/leeds",
        quality=quality,
        weight=2.0,
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A reader's file has a hash, by which its answers are remembered."""
    place = Workspace(tmp_path)
    place.reader.mkdir(parents=True)
    (place.reader / "model.onnx").write_bytes(b"weights")
    (place.reader / "config.json").write_text("{}", encoding="utf-8")
    return place


def params(**scorer: object) -> Params:
    found = load_params(repository_root() / "params.yaml").model_dump(mode="json")
    found["train_scorer"] |= {"starter": None, **scorer}
    return Params.model_validate_json(json.dumps(found))


def recorded(workspace: Workspace, labels: Sequence[AnswerLabel], languages: Sequence[str] = ("en",)) -> pd.DataFrame:
    recorder = Recorder(params(), workspace, Letters(), None)
    return record_labels(params(), labels, OnePassage(), [(LastWord(), languages)], recorder, lambda *_: None)


def test_a_label_counts_for_the_rung_that_still_says_so(workspace: Workspace) -> None:
    """Not where the rung says something else by now, is another one, or does not serve that language."""
    labels = [label("18:30"), label("19:30", number=1), label("18:30", rung="reader_wide", number=2)]
    (row,) = recorded(workspace, labels).to_dict("records")
    assert (row["query_id"], row["model"], row["correct"], row["label_weight"]) == ("feedback-0", "reader", 0.8, 2.0)
    assert (row["split"], row["document_id"]) == ("feedback", "en/leeds")
    assert recorded(workspace, labels, languages=("fr",)).empty


def test_what_people_asked_is_not_remembered_where_an_erasure_could_not_find_it(workspace: Workspace) -> None:
    """Each run asks again; golden questions are remembered, in files that hold no one else's."""
    assert len(recorded(workspace, [label("18:30")])) == 1
    assert not [path for path in workspace.cache.rglob("*") if path.is_file()]


def test_labels_are_read_back_at_their_weight_and_old_ones_are_removed(workspace: Workspace) -> None:
    """A weight of 0 learns nothing; without labels there is no file."""
    workspace.outcomes.mkdir(parents=True)
    write_labels(workspace.outcomes, recorded(workspace, [label("18:30")]))
    assert read_label_rows(workspace.outcomes, 0.3)["label_weight"].tolist() == [pytest.approx(0.6)]
    assert read_label_rows(workspace.outcomes, 0.0).empty
    write_labels(workspace.outcomes, recorded(workspace, []))
    assert read_label_rows(workspace.outcomes, 0.3).empty


def test_the_scorer_hears_of_what_people_thought(workspace: Workspace) -> None:
    """Sixty thumbs down on answers that golden questions found good draw the score down, less so at a low weight."""
    golden = recorded(workspace, [label("18:30", number=n) for n in range(60)])
    golden = golden.assign(correct=[1.0] * 50 + [0.0] * 10, label_weight=1.0)
    down = recorded(workspace, [label("18:30", 0.2, number=100 + n) for n in range(60)])
    numbers = np.array(golden["features"].iloc[0])
    scores = []
    for weight in (0.0, 0.3, 1.0):
        weights = fit_scorer(pd.concat([golden, down.assign(label_weight=weight)]), params())
        vector = np.append(numbers, np.zeros(len(weights.features) - len(numbers)))
        scores.append(weights.answered["reader"].predict(vector))
    assert scores[0] > scores[1] + 0.05
    assert scores[1] > scores[2] + 0.05


def test_a_row_that_counts_twice_is_a_row_that_stands_there_twice() -> None:
    """Whatever the prior; a row that counts nothing is not there."""
    rng = np.random.default_rng(7)
    features, quality = rng.normal(size=(80, 3)), rng.random(80)
    counts = np.ones(80)
    counts[:20] = 2.0
    prior = fit_head(features, quality, 1.0)
    twice = fit_head(np.concatenate([features, features[:20]]), np.concatenate([quality, quality[:20]]), 1.0, prior)
    weighed = fit_head(features, quality, 1.0, prior, counts)
    assert weighed.weights == pytest.approx(twice.weights, abs=1e-4)
    assert weighed.bias == pytest.approx(twice.bias, abs=1e-4)
