"""Asks rungs what they have not been asked before, and gives back outcome rows.

An answer is remembered by the content that led to it (rung, weights, prompt, question, passages read), so that a
killed run goes on where it was and a new corpus version asks again only what changed. Who is asked, and whether a
rung stays, is decided elsewhere.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from palier.adapters.catalogue import sha256_file
from palier.adapters.remembered import Remembered, content_key
from palier.adapters.workspace import Workspace
from palier.adapters.writer_rung import writer_hashes
from palier.domain.answering import AskedQuestion, Citation, Rung, RungAnswer, Turn
from palier.domain.money import usd
from palier.domain.scoring import TextEncoder, Verifier, features
from palier.domain.text_metrics import best_f1
from palier.params import Params, ReaderRung, RungParams, WriterRung

Progress = Callable[[int, int, str], None]
N_THREADS = 2


class Recorder:
    """Asks a rung what is not remembered, and counts."""

    def __init__(self, params: Params, workspace: Workspace, encoder: TextEncoder, verifier: Verifier | None) -> None:
        self._params = params
        self._workspace = workspace
        self._encoder = encoder
        self._verifier = verifier
        self._memories: dict[str, Remembered] = {}
        self.n_asked = 0
        self.n_remembered = 0

    def record(self, rung: Rung, asked: Sequence[AskedQuestion], progress: Progress) -> list[dict[str, Any]]:
        """Outcome rows of one rung, in order."""
        fingerprint = rung_fingerprint(self._params, rung.name, self._workspace)
        memory = self._memory(rung.name)
        params = self._params.ladder.rungs[rung.name]

        def one(item: AskedQuestion) -> dict[str, Any]:
            key = _answer_key(fingerprint, item, params)
            known = memory.get(key)
            if known is not None:
                self.n_remembered += 1
                return outcome_row(item, answer_of(known), self._encoder, self._verifier)
            answer = rung.answer(item.question, item.hits)
            memory.put(key, asdict(answer))
            self.n_asked += 1
            return outcome_row(item, answer, self._encoder, self._verifier)

        rows = []
        with ThreadPoolExecutor(N_THREADS) as pool:
            for row in pool.map(one, asked):
                rows.append(row)
                progress(len(rows), len(asked), rung.name)
        return rows

    def _memory(self, name: str) -> Remembered:
        if name not in self._memories:
            self._memories[name] = Remembered(self._workspace.cache / "outcomes" / f"{name}.answers.jsonl")
        return self._memories[name]


def outcome_row(
    item: AskedQuestion,
    answer: RungAnswer,
    encoder: TextEncoder,
    verifier: Verifier | None,
    correct: float | None = None,
) -> dict[str, Any]:
    """One row of outcomes.parquet; ``correct`` (0..1) where it is known, else measured against the golden answers."""
    gold = set(item.row.get("passage_ids") or ())
    cited = {citation.passage_id for citation in answer.citations}
    return {
        "query_id": item.row["id"],
        "model": answer.rung,
        "answer": answer.text,
        "correct": quality(item.row, answer.text) if correct is None else correct,
        "cites_gold": float(bool(gold & cited)) if gold and answer.text else None,
        "cost_nanousd": answer.cost_nanousd,
        "cost_usd": usd(answer.cost_nanousd),
        "latency_ms": answer.latency_ms,
        "features": features(item.question, item.hits, answer, encoder, verifier).tolist(),
    }


def quality(row: Mapping[str, Any], answer: str) -> float:
    """Token F1 against the best golden answer; for a question without answer, 1.0 for saying so."""
    if not row["answers"]:
        return float(not answer)
    return best_f1(answer, row["answers"], row["lang"]) if answer else 0.0


READING = 3
"""Counts up when the same weights begin to read otherwise: what a reader of before said is not remembered then."""
WRITING = 3
"""Counts up when a writer is given other things to read, or its seconds are counted otherwise."""


def rung_fingerprint(params: Params, name: str, workspace: Workspace) -> str:
    """What makes a rung answer as it does: its params, its weights and config, the prompt, the price of a CPU hour."""
    rung: RungParams = params.ladder.rungs[name]
    told = rung.model_dump(mode="json", exclude_defaults=True)  # a param that is added later asks nothing again
    parts: dict[str, Any] = {"rung": told, "cpu": params.ladder.cpu_usd_per_hour}
    if rung.kind == "reader":
        parts["model"] = [sha256_file(workspace.reader / name) for name in ("model.onnx", "config.json")]
        parts["reading"] = READING
    else:
        parts["prompt"] = params.prompt
    if isinstance(rung, WriterRung):
        parts["model"] = writer_hashes(workspace.models, rung.model)
        parts["writing"], parts["reading"] = WRITING, READING
    return json.dumps(parts, sort_keys=True)


def _answer_key(fingerprint: str, item: AskedQuestion, rung: RungParams) -> str:
    """What the answer depends on: the rung, the question, the passages that it reads, and their scores if it weighs
    them."""
    hits = item.hits[: rung.passages]
    weighed = [hit.score for hit in hits] if isinstance(rung, ReaderRung) and rung.retrieval_weight else []
    turns = [asdict(turn) for turn in item.question.history]
    read = [hit.passage.content for hit in hits]
    return content_key(fingerprint, item.question.text, item.question.lang, turns, read, weighed)


def answer_of(known: Mapping[str, Any]) -> RungAnswer:
    """An answer again from what `asdict` made of it, by way of JSON."""
    citations = tuple(Citation(**citation) for citation in known["citations"])
    withheld = known.get("withheld")
    kept = (withheld[0], Citation(**withheld[1])) if withheld else None
    return RungAnswer(**{**known, "citations": citations, "withheld": kept})


def query_row(item: AskedQuestion) -> dict[str, Any]:
    """What a question asks and what is right for it, as a row of queries.parquet."""
    row = item.row
    gold = set(row.get("passage_ids") or ())
    return {
        "query_id": row["id"],
        "query": item.question.text,
        "history": json.dumps([asdict(turn) for turn in item.question.history], ensure_ascii=False),
        "lang": row["lang"],
        "split": row["split"],
        "kind": row["kind"],
        "document_id": row["document_id"],
        "reference": json.dumps(row["answers"], ensure_ascii=False),
        "answerable": bool(row.get("answerable", row["answers"])),
        "retrieved_gold": bool(gold & {hit.passage.passage_id for hit in item.hits}),
    }


def turns_of(history: str) -> tuple[Turn, ...]:
    """A conversation again from the ``history`` of a `query_row`."""
    return tuple(Turn(**turn) for turn in json.loads(history))
