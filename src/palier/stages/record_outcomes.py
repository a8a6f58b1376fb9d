"""Stage `record-outcomes`: every rung of the ladder answers the golden questions; what it said is written down.

Validation and test questions only: the reader has seen the training ones, and its answers there would teach the
scorer a confidence that it does not have on new questions. An answer is remembered by the content that led to it
(rung, question, passages read), so that nothing is asked twice, also when a run is killed half-way. A rung is on
probation first: when a few validation questions show that it cannot reach `probation_quality`, the rest is not asked.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from palier.adapters.catalogue import load_catalogue, sha256_file
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reranker import reranker_for
from palier.adapters.runtime import load_rungs
from palier.adapters.search import HybridRetriever, connect
from palier.adapters.workspace import Workspace, read_json, read_jsonl, write_json
from palier.domain.answering import Citation, Hit, Question, Rung, RungAnswer, Turn
from palier.domain.money import usd
from palier.domain.scoring import TextEncoder, features
from palier.domain.text_metrics import best_f1
from palier.errors import NotReadyError
from palier.params import Params, RungParams, WriterRung
from palier.settings import Settings

Progress = Callable[[int, int, str], None]
N_THREADS = 2


@dataclass(frozen=True)
class RecordResult:
    """What was asked, what was remembered, and which rungs stay on the ladder."""

    n_questions: int
    n_asked: int
    n_remembered: int
    admitted: tuple[str, ...]
    left_out: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class AskedQuestion:
    """A golden question with what was retrieved for it."""

    row: Mapping[str, Any]
    question: Question
    hits: Sequence[Hit]


def run(params: Params, root: Path, settings: Settings, progress: Progress) -> RecordResult:
    """Write queries.parquet, outcomes.parquet and rungs.json; NotReadyError when the index is not built."""
    workspace = Workspace(root)
    encoder = OnnxEncoder(workspace.encoder)
    asked = _retrieve(params, workspace, settings, encoder, progress)
    rungs = load_rungs(params.ladder, workspace.reader, params.prompt, settings)
    recorder = _Recorder(params, workspace, encoder)
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for name, rung in rungs.items():
        recorded, reason = recorder.record(name, rung, asked, progress)
        if reason:
            left_out[name] = reason
            progress(1, 1, f"{name}: left out ({reason})")
        else:
            rows += recorded
    admitted = tuple(name for name in rungs if name not in left_out)
    if not admitted:
        raise NotReadyError(f"No rung reaches record_outcomes.probation_quality: {left_out}")
    _write(workspace, asked, rows, admitted, left_out)
    return RecordResult(len(asked), recorder.n_asked, recorder.n_remembered, admitted, left_out, _metrics(rows, asked))


def golden_question(row: Mapping[str, Any]) -> Question:
    """The question of a golden row, with its conversation."""
    turns = tuple(Turn(turn["role"], turn["content"]) for turn in row.get("history") or ())
    return Question(row["question"], row["lang"], turns)


def quality(row: Mapping[str, Any], answer: str) -> float:
    """Token F1 against the best golden answer; for a question without answer, 1.0 for saying so."""
    if not row["answers"]:
        return float(not answer)
    return best_f1(answer, row["answers"], row["lang"]) if answer else 0.0


def _retrieve(
    params: Params, workspace: Workspace, settings: Settings, encoder: OnnxEncoder, progress: Progress
) -> list[AskedQuestion]:
    golden = read_jsonl(workspace.corpus / "golden.jsonl", "version-documents")
    rows = [row for row in golden if row["split"] in ("validation", "test")]
    index = read_json(workspace.index_file, "build-index")["index"]
    key = settings.elasticsearch_api_key
    client = connect(settings.search_url, key.get_secret_value() if key else None)
    reranker = reranker_for(params.retrieval, workspace.reranker)
    retriever = HybridRetriever(client, index, encoder, params.retrieval, reranker)
    asked = []
    for done, row in enumerate(rows, start=1):
        question = golden_question(row)
        asked.append(AskedQuestion(row, question, retriever.search(question, params.retrieval.k)))
        progress(done, len(rows), "retrieve")
    return asked


class _Recorder:
    """Asks a rung what is not remembered, and counts."""

    def __init__(self, params: Params, workspace: Workspace, encoder: TextEncoder) -> None:
        self._params = params
        self._workspace = workspace
        self._encoder = encoder
        self.n_asked = 0
        self.n_remembered = 0

    def record(
        self, name: str, rung: Rung, asked: Sequence[AskedQuestion], progress: Progress
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Outcome rows of one rung, or the reason why it is left out."""
        memory = _Memory(self._workspace.cache / "outcomes" / f"{name}.jsonl")
        fingerprint = rung_fingerprint(self._params, name, self._workspace)
        trial = _probation(asked, self._params.record_outcomes.probation_questions)
        rows = self._answer(rung, fingerprint, trial, memory, progress)
        if reason := _verdict([row["correct"] for row in rows], self._params):
            return rows, reason
        probed = {row["query_id"] for row in rows}
        rest = [item for item in asked if item.row["id"] not in probed]
        return rows + self._answer(rung, fingerprint, rest, memory, progress), None

    def _answer(
        self,
        rung: Rung,
        fingerprint: str,
        asked: Sequence[AskedQuestion],
        memory: "_Memory",
        progress: Progress,
    ) -> list[dict[str, Any]]:
        def one(item: AskedQuestion) -> dict[str, Any]:
            key = _content_key(fingerprint, item, self._params.ladder.rungs[rung.name].passages)
            answer = memory.get(key)
            if answer is None:
                answer = rung.answer(item.question, item.hits)
                memory.put(key, answer)
                self.n_asked += 1
            else:
                self.n_remembered += 1
            return self._row(item, answer)

        rows = []
        with ThreadPoolExecutor(N_THREADS) as pool:
            for row in pool.map(one, asked):
                rows.append(row)
                progress(len(rows), len(asked), rung.name)
        return rows

    def _row(self, item: AskedQuestion, answer: RungAnswer) -> dict[str, Any]:
        gold = set(item.row.get("passage_ids") or ())
        cited = {citation.passage_id for citation in answer.citations}
        return {
            "query_id": item.row["id"],
            "model": answer.rung,
            "answer": answer.text,
            "correct": quality(item.row, answer.text),
            "cites_gold": float(bool(gold & cited)) if gold and answer.text else None,
            "cost_nanousd": answer.cost_nanousd,
            "cost_usd": usd(answer.cost_nanousd),
            "latency_ms": answer.latency_ms,
            "features": features(item.question, item.hits, answer, self._encoder).tolist(),
        }


class _Memory:
    """Answers by content, appended as they come: a killed run loses at most the line being written."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._answers = dict(_read_memory(path)) if path.is_file() else {}

    def get(self, key: str) -> RungAnswer | None:
        return self._answers.get(key)

    def put(self, key: str, answer: RungAnswer) -> None:
        self._answers[key] = answer
        line = json.dumps({"key": key, "answer": asdict(answer)}, ensure_ascii=False) + "\n"
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(line)


def _read_memory(path: Path) -> Iterable[tuple[str, RungAnswer]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that a killed run was writing
        answer = entry["answer"]
        answer["citations"] = tuple(Citation(**citation) for citation in answer["citations"])
        yield entry["key"], RungAnswer(**answer)


def rung_fingerprint(params: Params, name: str, workspace: Workspace) -> str:
    """What makes a rung answer as it does: its params, its weights, the prompt, the price of a CPU hour."""
    rung: RungParams = params.ladder.rungs[name]
    parts: dict[str, Any] = {"rung": rung.model_dump(mode="json"), "cpu": params.ladder.cpu_usd_per_hour}
    if rung.kind == "reader":
        parts["model"] = sha256_file(workspace.reader / "model.onnx")
    else:
        parts["prompt"] = params.prompt
    if isinstance(rung, WriterRung):
        parts["model"] = dict(load_catalogue()[rung.model].files)
    return json.dumps(parts, sort_keys=True)


def _content_key(fingerprint: str, item: AskedQuestion, n_read: int) -> str:
    """What the answer depends on: the rung, the question, and the passages that it reads (not their scores)."""
    read = [hit.passage.content for hit in item.hits[:n_read]]
    turns = [asdict(turn) for turn in item.question.history]
    content = json.dumps([fingerprint, item.question.text, item.question.lang, turns, read], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8")).hexdigest()


def _probation(asked: Sequence[AskedQuestion], n: int) -> list[AskedQuestion]:
    """The ``n`` validation questions with the smallest hashes: always the same ones, and no one's choice."""
    validation = [item for item in asked if item.row["split"] == "validation"]
    return sorted(validation, key=lambda item: hashlib.sha256(item.row["id"].encode()).digest())[:n]


def _verdict(qualities: Sequence[float], params: Params) -> str | None:
    """The reason to leave a rung out: even the upper 95 % bound of its mean quality is too low."""
    bound = params.record_outcomes.probation_quality
    upper = float(np.mean(qualities)) + 1.645 * float(np.std(qualities)) / max(1, len(qualities)) ** 0.5
    if upper >= bound:
        return None
    return f"mean quality {np.mean(qualities):.2f}, at most {upper:.2f} on {len(qualities)} questions, < {bound}"


def _metrics(rows: Sequence[Mapping[str, Any]], asked: Sequence[AskedQuestion]) -> dict[str, float]:
    """Per rung on validation questions (test rows are for evaluate-release): f1, share answered, cost, latency."""
    validation = {item.row["id"] for item in asked if item.row["split"] == "validation"}
    frame = pd.DataFrame(rows)
    frame = frame[frame["query_id"].isin(validation)]
    metrics = {}
    for name, group in frame.groupby("model"):
        metrics[f"{name}.f1"] = float(group["correct"].mean())
        metrics[f"{name}.share_answered"] = float((group["answer"] != "").mean())
        metrics[f"{name}.cost_usd"] = float(group["cost_usd"].mean())
        metrics[f"{name}.latency_ms_p95"] = float(group["latency_ms"].quantile(0.95))
    return metrics


def _write(
    workspace: Workspace,
    asked: Sequence[AskedQuestion],
    rows: Sequence[Mapping[str, Any]],
    admitted: Sequence[str],
    left_out: Mapping[str, str],
) -> None:
    workspace.outcomes.mkdir(parents=True, exist_ok=True)
    queries = pd.DataFrame(
        {
            "query_id": item.row["id"],
            "query": item.question.text,
            "lang": item.row["lang"],
            "split": item.row["split"],
            "kind": item.row["kind"],
            "document_id": item.row["document_id"],
            "reference": json.dumps(item.row["answers"], ensure_ascii=False),
            "answerable": bool(item.row["answers"]),
            "retrieved_gold": bool(
                set(item.row.get("passage_ids") or ()) & {hit.passage.passage_id for hit in item.hits}
            ),
        }
        for item in asked
    )
    queries.to_parquet(workspace.outcomes / "queries.parquet", index=False)
    pd.DataFrame(rows).to_parquet(workspace.outcomes / "outcomes.parquet", index=False)
    write_json(workspace.outcomes / "rungs.json", {"admitted": list(admitted), "left_out": dict(left_out)})
