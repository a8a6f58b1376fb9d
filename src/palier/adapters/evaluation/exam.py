"""What is examined: questions with their passages, what each rung said to them, and how each answer was scored.

Either the golden test questions of a workspace, whose answers `record-outcomes` wrote down, or question files that
nobody has seen, whose answers are asked here over an index of their own. Knows workspaces, indexes and rungs; draws no
conclusion. The price: files are asked without probation, so a slow rung must be left out by name.
"""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from elasticsearch import Elasticsearch
from numpy.typing import NDArray

from palier.adapters.evaluation.own_index import own_index, read_questions
from palier.adapters.evaluation.tables import outcome_table
from palier.adapters.onnx_cross_encoder import cross_encoder_in, reranker_for
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.outcome_recorder import Recorder
from palier.adapters.runtime import load_rungs
from palier.adapters.search import HybridRetriever, connect, wait_ready
from palier.adapters.workspace import Workspace, read_json, read_jsonl
from palier.domain.answering import AskedQuestion, NoPassages, Question, Retriever, Rung, Turn
from palier.errors import InputError, NotReadyError
from palier.params import LadderParams, Params, WriterRung
from palier.settings import Settings

Progress = Callable[[int, int, str], None]
Score = Callable[[pd.DataFrame], NDArray[np.float64]]
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Order:
    """What is asked for: ``data`` files in place of golden questions, at most ``max_questions`` of them, only these
    ``rungs`` (none named: all that stay on the ladder), the page in ``out``; ``reader_curve`` trains, so it takes
    minutes."""

    data: tuple[Path, ...] = ()
    out: Path | None = None
    rungs: tuple[str, ...] = ()
    max_questions: int | None = None
    reader_curve: bool = False


@dataclass(frozen=True)
class Exam:
    """``table`` holds one scored outcome per rung and question; ``training`` the outcomes that taught the scorer."""

    title: str
    place: Workspace
    asked: Sequence[AskedQuestion]
    table: pd.DataFrame
    training: pd.DataFrame
    retriever: Retriever
    rungs: Callable[[Sequence[str]], dict[str, Rung]]
    untuned: Callable[[WriterRung], Rung]
    recorder: Recorder
    languages: tuple[str, ...]

    @property
    def rung_names(self) -> list[str]:
        """The rungs that answered, as the ladder orders them."""
        return list(dict.fromkeys(self.table["model"]))


@contextmanager
def exam_of(
    params: Params,
    place: Workspace,
    settings: Settings,
    recorded: pd.DataFrame,
    score: Score,
    order: Order,
    progress: Progress,
) -> Iterator[Exam]:
    """The exam of ``order``; ``recorded`` are the workspace's outcomes with a ``score``, ``score`` scores new ones.

    Raises NotReadyError before the stages that it rests on have run, InputError for files or rungs that are not there.
    """
    exam = _Examiner(params, place, settings, order, progress)
    training = recorded[recorded["split"] == "validation"]
    if not order.data:
        yield exam.golden(recorded[recorded["split"] == "test"], training)
        return
    with exam.files(training, score) as found:
        yield found


class _Examiner:
    """Puts an exam together."""

    def __init__(self, params: Params, place: Workspace, settings: Settings, order: Order, progress: Progress) -> None:
        self._params = params
        self._place = place
        self._settings = settings
        self._order = order
        self._progress = progress
        self._encoder = OnnxEncoder(place.encoder)
        self._recorder = Recorder(params, place, self._encoder, cross_encoder_in(place.verifier))

    def golden(self, test: pd.DataFrame, training: pd.DataFrame) -> Exam:
        """The golden test questions, with recorded answers."""
        if test.empty:
            raise NotReadyError("No test question was recorded: add some (split: test), then `palier record-outcomes`.")
        golden = read_jsonl(self._place.corpus / "golden.jsonl", "version-documents")
        known = {row["id"]: row for row in golden}
        queries = test.drop_duplicates("query_id").to_dict("records")
        rows = [known.get(query["query_id"]) or _row_of(query) for query in queries]
        chosen = _chosen(self._order.rungs, list(dict.fromkeys(test["model"])))
        retriever = self._retriever(self._golden_index())
        table = test[test["model"].isin(chosen)].reset_index(drop=True)
        return self._exam("Golden test questions", self._asked(rows, retriever), table, training, retriever)

    @contextmanager
    def files(self, training: pd.DataFrame, score: Score) -> Iterator[Exam]:
        """Questions of files, asked now; each rung that taught the scorer, or those that are named."""
        if not self._params.retrieval.searches:
            raise InputError("The workspace answers without passages (`retrieval: none`), which files bring.")
        rng = np.random.default_rng(self._params.seed)
        rows, passages = read_questions(self._order.data, self._order.max_questions, rng)
        names = _chosen(self._order.rungs, list(dict.fromkeys(training["model"])))
        kept = self._place.cache / "evaluation" / "embeddings"
        client = self._client()
        with own_index(client, passages, self._encoder, self._params.build_index, kept, self._progress) as index:
            retriever = self._retriever(index)
            asked = self._asked(rows, retriever)
            answers = [
                row
                for rung in self._rungs(names).values()
                for row in self._recorder.record(rung, asked, self._progress)
            ]
            table = outcome_table(asked, answers)
            title = ", ".join(path.name for path in self._order.data)
            yield self._exam(title, asked, table.assign(score=score(table)), training, retriever)

    def _exam(
        self,
        title: str,
        asked: Sequence[AskedQuestion],
        table: pd.DataFrame,
        training: pd.DataFrame,
        retriever: Retriever,
    ) -> Exam:
        languages = tuple(lang for lang in ("en", "fr") if lang in set(table["lang"]))
        return Exam(
            title=title,
            place=self._place,
            asked=asked,
            table=table,
            training=training,
            retriever=retriever,
            rungs=self._rungs,
            untuned=self._untuned,
            recorder=self._recorder,
            languages=languages,
        )

    def _rungs(self, names: Sequence[str]) -> dict[str, Rung]:
        ladder = self._params.ladder
        only = {name: rung for name, rung in ladder.rungs.items() if name in names}
        if not only:
            return {}
        part = LadderParams(cpu_usd_per_hour=ladder.cpu_usd_per_hour, rungs=only)
        return load_rungs(part, self._place.models, self._params.prompt, self._settings)

    def _untuned(self, rung: WriterRung) -> Rung:
        """The model of a writer's rung as it comes, with the workspace's reader to point to its evidence."""
        models = self._place.cache / "evaluation" / "untuned"
        models.mkdir(parents=True, exist_ok=True)
        reader = models / "reader"
        reader.unlink(missing_ok=True)
        reader.symlink_to(self._place.reader)
        part = LadderParams(cpu_usd_per_hour=self._params.ladder.cpu_usd_per_hour, rungs={"untuned_writer": rung})
        return load_rungs(part, models, self._params.prompt, self._settings)["untuned_writer"]

    def _asked(self, rows: Sequence[Mapping[str, Any]], retriever: Retriever) -> list[AskedQuestion]:
        asked = []
        for done, row in enumerate(rows, start=1):
            turns = tuple(Turn(turn["role"], turn["content"]) for turn in row.get("history") or ())
            question = Question(row["question"], row["lang"], turns)
            asked.append(AskedQuestion(row, question, retriever.search(question, self._params.retrieval.k)))
            self._progress(done, len(rows), "retrieve")
        return asked

    def _golden_index(self) -> str:
        if not self._params.retrieval.searches:
            return ""
        return str(read_json(self._place.index_file, "build-index")["index"])

    def _retriever(self, index: str) -> Retriever:
        if not index:
            return NoPassages()
        retrieval = self._params.retrieval
        reranker = reranker_for(retrieval, self._place.reranker)
        return HybridRetriever(self._client(), index, self._encoder, retrieval, reranker)

    def _client(self) -> Elasticsearch:
        key = self._settings.elasticsearch_api_key
        client = connect(self._settings.search_url, key.get_secret_value() if key else None, timeout_s=60)
        wait_ready(client, PATIENCE_S)
        return client


def _row_of(query: Mapping[Hashable, Any]) -> dict[str, Any]:
    """A question that was recorded elsewhere, in the form of a golden one."""
    answers = json.loads(query["reference"])
    names = {"id": "query_id", "lang": "lang", "question": "query", "kind": "kind", "document_id": "document_id"}
    return {**{name: query[column] for name, column in names.items()}, "answers": answers, "split": "test"}


def _chosen(wanted: Sequence[str], there: Sequence[str]) -> list[str]:
    """The rungs to examine; InputError for one that has no recorded answers: nothing would score it."""
    unknown = sorted(set(wanted) - set(there))
    if unknown:
        raise InputError(f"No recorded answers of {', '.join(unknown)}. There are: {', '.join(there)}.")
    return [name for name in there if not wanted or name in wanted]
