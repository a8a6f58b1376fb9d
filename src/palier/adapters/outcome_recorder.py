"""Asks rungs what they have not been asked before, and gives back outcome rows.

An answer is remembered by the content that led to it (rung, weights, prompt, question, passages read), so that a
killed run goes on where it was and a new corpus version asks again only what changed. Who is asked, and whether a
rung stays, is decided elsewhere.

A question that an endpoint refuses is an outcome too: no answer, of quality 0, as the gateway serves it (the rung says
nothing, and the next one is asked). It costs 0, as in the ledger: a refusal tells no tokens, though some endpoints
charge for them. It is not remembered: who mends a filter need not forget what was paid for.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from palier.adapters.catalogue import sha256_file
from palier.adapters.heavy_rung import RefusedQuestionError
from palier.adapters.remembered import Remembered, content_key
from palier.adapters.workspace import Workspace
from palier.adapters.writer_rung import writer_hashes
from palier.domain.answering import AskedQuestion, Citation, Rung, RungAnswer, Turn
from palier.domain.money import usd
from palier.domain.scoring import TextEncoder, Verifier, features
from palier.domain.text_metrics import best_f1
from palier.errors import ModelEndpointError
from palier.params import Params, ReaderRung, RungParams, WriterRung

Progress = Callable[[int, int, str], None]
N_THREADS = 2
MAX_REFUSED_SHARE = 0.1
FEW_REFUSED = 3
"""Refusals of any share of the questions: a few about medicines or weapons are no fault of the set-up."""
REASONS_SHOWN = 3


class Recorder:
    """Asks a rung what is not remembered, and counts; ``refused`` counts by rung and reason."""

    def __init__(self, params: Params, workspace: Workspace, encoder: TextEncoder, verifier: Verifier | None) -> None:
        self._params = params
        self._workspace = workspace
        self._encoder = encoder
        self._verifier = verifier
        self._memories: dict[str, Remembered] = {}
        self.n_asked = 0
        self.n_remembered = 0
        self.refused: dict[str, Counter[str]] = {}

    def record(
        self, rung: Rung, asked: Sequence[AskedQuestion], progress: Progress, *, remembers: bool = True
    ) -> list[dict[str, Any]]:
        """Outcome rows of one rung, in order; without ``remembers``, nothing of them stays on disk.

        Raises ModelEndpointError when the endpoint fails, or refuses more than MAX_REFUSED_SHARE of the questions.
        """
        answers = self._remembered_answers if remembers else self._answers
        ask, reasons, rows = answers(rung), list[str](), []

        def one(item: AskedQuestion) -> dict[str, Any]:
            started = time.perf_counter()
            try:
                return outcome_row(item, ask(item), self._encoder, self._verifier)
            except RefusedQuestionError as error:
                reasons.append(error.reason)
                if len(reasons) > max(FEW_REFUSED, MAX_REFUSED_SHARE * len(asked)):
                    raise _too_many(rung.name, reasons, len(asked)) from error
                nothing = RungAnswer(rung.name, "", latency_ms=1000 * (time.perf_counter() - started))
                return outcome_row(item, nothing, self._encoder, self._verifier, correct=0.0)

        with ThreadPoolExecutor(N_THREADS) as pool:
            for row in pool.map(one, asked):
                rows.append(row)
                progress(len(rows), len(asked), rung.name)
        if reasons:
            self.refused.setdefault(rung.name, Counter()).update(reasons)
            progress(len(asked), len(asked), f"{rung.name}: {_told(reasons, len(asked))}, quality 0")
        return rows

    def _answers(self, rung: Rung) -> Callable[[AskedQuestion], RungAnswer]:
        """Asks the rung."""

        def ask(item: AskedQuestion) -> RungAnswer:
            self.n_asked += 1
            return rung.answer(item.question, item.hits)

        return ask

    def _remembered_answers(self, rung: Rung) -> Callable[[AskedQuestion], RungAnswer]:
        """Asks the rung what it has not answered before."""
        fingerprint = rung_fingerprint(self._params, rung.name, self._workspace)
        memory, params, ask = self._memory(rung.name), self._params.ladder.rungs[rung.name], self._answers(rung)

        def recall(item: AskedQuestion) -> RungAnswer:
            key = _answer_key(fingerprint, item, params)
            known = memory.get(key)
            if known is not None:
                self.n_remembered += 1
                return answer_of(known)
            answer = ask(item)
            memory.put(key, asdict(answer))
            return answer

        return recall

    def _memory(self, name: str) -> Remembered:
        if name not in self._memories:
            self._memories[name] = Remembered(self._workspace.cache / "outcomes" / f"{name}.answers.jsonl")
        return self._memories[name]


def _told(reasons: Sequence[str], n_asked: int) -> str:
    """How many questions were refused, and for what."""
    counted = ", ".join(f"{reason}: {n}" for reason, n in Counter(reasons).most_common(REASONS_SHOWN))
    return f"{len(reasons)} of {n_asked} questions refused by the endpoint ({counted})"


def _too_many(rung: str, reasons: Sequence[str], n_asked: int) -> ModelEndpointError:
    return ModelEndpointError(
        f"Rung {rung!r}: {_told(reasons, n_asked)}, more than {MAX_REFUSED_SHARE:.0%}: that is the set-up, not the "
        "questions. Change the endpoint's content filter or limits, or the rung's `request` or `passages`; then run "
        "the same again: what was answered is remembered."
    )


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
