"""Stage `record-outcomes`: every rung of the ladder answers the golden questions; what it said is written down.

Validation and test questions only: the reader has seen the training ones, and its answers there would teach the
scorer a confidence that it does not have on new questions. A rung is on probation first, in each language: where a few
validation questions show that it cannot reach `probation_quality`, the rest of that language is not asked, and the
cascade passes it over there. Outcomes that were recorded elsewhere can be taken instead; a judge labels what has none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from palier.adapters.feedback_labels import record_labels, write_labels
from palier.adapters.feedback_rows import read_labels
from palier.adapters.heavy_rung import heavy_client
from palier.adapters.judge import Judge, Pair
from palier.adapters.onnx_cross_encoder import cross_encoder_in, reranker_for
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.outcome_recorder import Recorder, outcome_row, query_row
from palier.adapters.recorded_outcomes import RecordedOutcome, RecordedOutcomes, read_recorded
from palier.adapters.runtime import load_rungs
from palier.adapters.search import HybridRetriever, connect
from palier.adapters.workspace import Workspace, read_json, read_jsonl, write_json
from palier.domain.answering import AskedQuestion, NoPassages, Question, Retriever, Rung, Turn
from palier.domain.documents import Lang
from palier.domain.guarding import topic_features
from palier.domain.judging import JudgeReport, Label, label_of, report_of, worth_of_relations
from palier.domain.probation import on_probation, reason_to_leave_out
from palier.errors import NotReadyError, ParamsError
from palier.params import Params
from palier.settings import Settings

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class RecordResult:
    """What was asked, what was remembered, and which rungs stay on the ladder (in which languages: `languages`).

    ``left_out`` names a rung, or a rung and a language, with the reason; ``refused`` counts by rung and reason the
    questions that its endpoint refuses.
    """

    n_questions: int
    n_asked: int
    n_remembered: int
    admitted: tuple[str, ...]
    left_out: Mapping[str, str]
    metrics: Mapping[str, float]
    languages: Mapping[str, tuple[str, ...]]
    refused: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Recording:
    """All that the stage writes."""

    asked: Sequence[AskedQuestion]
    rows: Sequence[Mapping[str, Any]]
    languages: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]
    n_asked: int = 0
    n_remembered: int = 0
    refused: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    judged: JudgeReport | None = None
    labels: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What people think of answers, for the scorer alone."""


def run(params: Params, root: Path, settings: Settings, progress: Progress) -> RecordResult:
    """Write queries.parquet, outcomes.parquet and rungs.json, and labels.parquet where feedback labels answers.

    Raises NotReadyError when the index is not built or no question or rung is left, InputError for recorded files in
    another form, ModelEndpointError when an endpoint fails or refuses too many questions.
    """
    workspace = Workspace(root)
    encoder = OnnxEncoder(workspace.encoder)
    taken = params.record_outcomes.recorded is not None
    recording = (_take if taken else _ask)(params, workspace, settings, encoder, progress)
    if not recording.asked:
        raise NotReadyError("No golden question is left: mark some `split: validation`, some `split: test`.")
    if not recording.languages:
        raise NotReadyError(f"No rung reaches record_outcomes.probation_quality: {dict(recording.left_out)}")
    _write(workspace, recording)
    return RecordResult(
        len(recording.asked),
        recording.n_asked,
        recording.n_remembered,
        tuple(recording.languages),
        recording.left_out,
        _metrics(recording),
        recording.languages,
        recording.refused,
    )


def golden_question(row: Mapping[str, Any]) -> Question:
    """The question of a golden row, with its conversation."""
    turns = tuple(Turn(turn["role"], turn["content"]) for turn in row.get("history") or ())
    return Question(row["question"], row["lang"], turns)


def _ask(
    params: Params, workspace: Workspace, settings: Settings, encoder: OnnxEncoder, progress: Progress
) -> Recording:
    retriever = _retriever(params, workspace, settings, encoder)
    asked = _retrieve(params, workspace, retriever, progress)
    rungs = load_rungs(params.ladder, workspace.models, params.prompt, settings)
    recorder = Recorder(params, workspace, encoder, cross_encoder_in(workspace.verifier))
    rows: list[dict[str, Any]] = []
    languages: dict[str, tuple[str, ...]] = {}
    left_out: dict[str, str] = {}
    for name, rung in rungs.items():
        recorded, reasons = _record(params, recorder, rung, asked, progress)
        rows += recorded
        served = tuple(lang for lang in _languages(asked) if lang not in reasons)
        if served:
            languages[name] = served
        told = {f"{name} ({lang})" if served else name: reason for lang, reason in reasons.items()}
        left_out |= told
        for which, reason in told.items():
            progress(1, 1, f"{which}: left out ({reason})")
    stay = [(rungs[name], served) for name, served in languages.items()]
    labels = record_labels(params, read_labels(workspace), retriever, stay, recorder, progress)
    refused = {name: dict(reasons) for name, reasons in recorder.refused.items()}
    return Recording(asked, rows, languages, left_out, recorder.n_asked, recorder.n_remembered, refused, labels=labels)


def _record(
    params: Params, recorder: Recorder, rung: Rung, asked: Sequence[AskedQuestion], progress: Progress
) -> tuple[list[dict[str, Any]], dict[Lang, str]]:
    """The rung's outcome rows in the languages where it stays, and why it does not stay in the others."""
    limits = params.record_outcomes
    rows: list[dict[str, Any]] = []
    reasons: dict[Lang, str] = {}
    for lang in _languages(asked):
        trial = on_probation(asked, lang, limits.probation_questions)
        tried = recorder.record(rung, trial, progress)
        if reason := reason_to_leave_out([row["correct"] for row in tried], limits.probation_quality):
            reasons[lang] = reason
            continue
        probed = {row["query_id"] for row in tried}
        rest = [item for item in asked if item.question.lang == lang and item.row["id"] not in probed]
        rows += tried + recorder.record(rung, rest, progress)
    return rows, reasons


def _languages(asked: Sequence[AskedQuestion]) -> list[Lang]:
    return sorted({item.question.lang for item in asked})


def _retrieve(params: Params, workspace: Workspace, retriever: Retriever, progress: Progress) -> list[AskedQuestion]:
    golden = read_jsonl(workspace.corpus / "golden.jsonl", "version-documents")
    rows = [row for row in golden if row["split"] in ("validation", "test")]
    asked = []
    for done, row in enumerate(rows, start=1):
        question = golden_question(row)
        asked.append(AskedQuestion(row, question, retriever.search(question, params.retrieval.k)))
        progress(done, len(rows), "retrieve")
    return asked


def _retriever(params: Params, workspace: Workspace, settings: Settings, encoder: OnnxEncoder) -> Retriever:
    if not params.retrieval.searches:
        return NoPassages()
    index = read_json(workspace.index_file, "build-index")["index"]
    key = settings.elasticsearch_api_key
    client = connect(settings.search_url, key.get_secret_value() if key else None)
    return HybridRetriever(client, index, encoder, params.retrieval, reranker_for(params.retrieval, workspace.reranker))


def _take(
    params: Params, workspace: Workspace, settings: Settings, encoder: OnnxEncoder, progress: Progress
) -> Recording:
    """Outcomes from files, with a judge's labels where they have none."""
    files = params.record_outcomes.recorded
    assert files is not None
    if params.retrieval.searches:
        raise ParamsError(
            "record_outcomes.recorded holds answers that were given without our passages: set `retrieval: none`, or "
            "let the rungs be asked (`recorded: null`)."
        )
    found = read_recorded(workspace.root / files.outcomes, workspace.root / files.queries, params.ladder)
    if found.n_left_out:
        progress(1, 1, f"{found.n_left_out} recorded questions left out: not every rung has an outcome of them")
    labels, judged = _labels(params, workspace, settings, found)
    verifier = cross_encoder_in(workspace.verifier)
    rows = []
    for done, one in enumerate(found.outcomes, start=1):
        label = labels.get((one.item.row["id"], one.answer.rung))
        row = outcome_row(one.item, one.answer, encoder, verifier, label.quality if label else one.correct)
        rows.append({**row, **_uncertainty(label)})
        progress(done, len(found.outcomes), "recorded outcomes")
    served = tuple(str(lang) for lang in _languages(found.asked))
    missing = {name: "no recorded outcomes" for name in params.ladder.rungs if name not in found.rungs}
    return Recording(found.asked, rows, dict.fromkeys(found.rungs, served), missing, judged=judged)


def _uncertainty(label: Label | None) -> dict[str, Any]:
    """Who said how good the answer is, and what it may be as low and as high as."""
    if label is None:
        return {"labelled_by": "gold", "correct_low": None, "correct_high": None, "label_weight": 1.0}
    told = {"correct_low": label.low, "correct_high": label.high, "label_weight": label.weight}
    return {"labelled_by": "judge", **told}


def _labels(
    params: Params, workspace: Workspace, settings: Settings, found: RecordedOutcomes
) -> tuple[dict[tuple[str, str], Label], JudgeReport | None]:
    """A judge's label for each outcome without one, and how well the judge agrees with the labels that are there."""
    unknown = [one for one in found.outcomes if one.correct is None]
    asked = params.record_outcomes.judge
    if not unknown:
        return {}, None
    if asked is None:
        raise ParamsError(
            f"{len(unknown)} recorded outcomes have no `correct`: fill it in, or name a record_outcomes.judge."
        )
    judge = Judge(heavy_client(asked.provider, settings), asked, workspace.cache / "outcomes" / "judge.jsonl")
    references = _references(found)
    known = [one for one in found.outcomes if one.correct is not None and one.item.row["id"] in references]
    n_checked = min(asked.check_questions, len(known))  # each is paid for: no more than that
    checked = [known[place * len(known) // n_checked] for place in range(n_checked)]
    verdicts = judge.compare_all([_pair(one, references) for one in [*checked, *unknown]])
    golden = [one.correct for one in checked if one.correct is not None]
    judged = [(verdict.votes, gold) for verdict, gold in zip(verdicts, golden, strict=False)]
    worth = worth_of_relations(judged)
    labels = {
        (one.item.row["id"], one.answer.rung): label_of(verdict.votes, worth)
        for one, verdict in zip(unknown, verdicts[len(checked) :], strict=True)
    }
    return labels, report_of(judged, worth)


def _references(found: RecordedOutcomes) -> dict[str, str]:
    """What an answer is held against: the golden answer, else what the dearest rung said."""
    costs = pd.DataFrame({"rung": o.answer.rung, "cost": o.answer.cost_nanousd} for o in found.outcomes)
    dearest = costs.groupby("rung")["cost"].mean().idxmax()
    said = {one.item.row["id"]: one.answer.text for one in found.outcomes if one.answer.rung == dearest}
    golden = {item.row["id"]: item.row["answers"][0] for item in found.asked if item.row["answers"]}
    return {**said, **golden}


def _pair(one: RecordedOutcome, references: Mapping[str, str]) -> Pair:
    return Pair(one.item.question.text, one.answer.text, references[one.item.row["id"]])


def _metrics(recording: Recording) -> dict[str, float]:
    """Per rung on validation questions (test rows are for evaluate-release): f1, share answered, cost, latency; and of
    all that it was asked, how many questions its endpoint refused.
    """
    validation = {item.row["id"] for item in recording.asked if item.row["split"] == "validation"}
    frame = pd.DataFrame(recording.rows)
    frame = frame[frame["query_id"].isin(validation)]
    metrics = {f"{name}.n_refused": float(sum(counts.values())) for name, counts in recording.refused.items()}
    for name, group in frame.groupby("model"):
        metrics[f"{name}.f1"] = float(group["correct"].mean())
        metrics[f"{name}.share_answered"] = float((group["answer"] != "").mean())
        metrics[f"{name}.cost_usd"] = float(group["cost_usd"].mean())
        if group["latency_ms"].notna().any():
            metrics[f"{name}.latency_ms_p95"] = float(group["latency_ms"].quantile(0.95))
    return metrics


def _write(workspace: Workspace, recording: Recording) -> None:
    workspace.outcomes.mkdir(parents=True, exist_ok=True)
    queries = pd.DataFrame(_query_row(item) for item in recording.asked)
    queries.to_parquet(workspace.outcomes / "queries.parquet", index=False)
    pd.DataFrame(recording.rows).to_parquet(workspace.outcomes / "outcomes.parquet", index=False)
    write_labels(workspace.outcomes, recording.labels)
    rungs: dict[str, Any] = {
        "admitted": list(recording.languages),
        "languages": recording.languages,
        "left_out": dict(recording.left_out),
    }
    if recording.refused:
        rungs["refused"] = recording.refused
    if recording.judged is not None:
        rungs["judge"] = asdict(recording.judged)
    write_json(workspace.outcomes / "rungs.json", rungs)


def _query_row(item: AskedQuestion) -> dict[str, Any]:
    return {**query_row(item), "topic": topic_features(item.question, item.hits).tolist()}
