"""Stage `sweep-retrieval`: which way of cutting, searching, fusing and reranking serves these documents best.

A study on demand, on golden validation questions only; test questions stay unseen. First each component by itself
(the cut with its search and fusion, then the reranker), by where the right passage stands; then the few that are worth
it end to end, by what the workspace's readers answer and what that costs. What is in use is replaced only where a
paired interval says so, and ties go to the cheaper (`palier.domain.retrieval_choice`). Every finished point, reading
and answer is remembered by its content, so a killed sweep goes on. The price: many minutes of one core.
"""

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

from palier.adapters.catalogue import sha256_file
from palier.adapters.documents_folder import read_documents
from palier.adapters.onnx_cross_encoder import MODEL, OnnxCrossEncoder
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.outcome_recorder import quality, rung_fingerprint
from palier.adapters.params_file import section_yaml
from palier.adapters.remembered import Remembered
from palier.adapters.runtime import load_rungs
from palier.adapters.search import Reranker, wait_ready
from palier.adapters.sweep.answers import ReadingRung, ask_readers
from palier.adapters.sweep.corpus import SweptCorpus, cut_corpus
from palier.adapters.sweep.indexes import TrialIndexes
from palier.adapters.sweep.points import Grid, PointTrials
from palier.adapters.sweep.report import Study, write_study
from palier.adapters.sweep.rereads import RereadScores, RereadTrials
from palier.adapters.workspace import Workspace, read_json
from palier.domain.documents import Document, Lang
from palier.domain.money import usd
from palier.domain.retrieval_choice import (
    Answered,
    Choice,
    Configuration,
    Reread,
    Rival,
    Rule,
    best_tuned,
    choose_reread,
    choose_search,
    configured,
    decide,
    reranked,
    reread_in_use,
    setting_in_use,
    tuning_in_use,
)
from palier.domain.retrieval_sweep import METRICS, Chunking, Point, choose_point, folds_of, tunings_of
from palier.errors import NotReadyError
from palier.params import LadderParams, Params
from palier.settings import Settings
from palier.stages.version_documents import corpus_revision

Progress = Callable[[int, int, str], None]
PATIENCE_S = 5.0


@dataclass(frozen=True)
class SweptRetrieval:
    """What the sweep found: how much was tried and remembered, what to use, why, and what could not be measured.

    ``changes`` are the params that differ from those in use, by section; ``recommended`` is the retrieval section as
    YAML text. ``trials`` are name, params and metrics of what tracking shows as runs of their own.
    """

    n_points: int
    n_remembered: int
    chosen: str
    reason: str
    changes: Mapping[str, Mapping[str, Any]]
    recommended: str
    skipped: Mapping[str, str]
    files: tuple[str, ...]
    metrics: Mapping[str, float]
    trials: tuple[tuple[str, Mapping[str, Any], Mapping[str, float]], ...] = field(repr=False)


def run(
    params: Params, root: Path, client: Elasticsearch, settings: Settings, progress: Progress = lambda *_: None
) -> SweptRetrieval:
    """Sweep, write ``data/sweep`` (results.json, plots, retrieval.yaml) and return what to use.

    Raises NotReadyError before `version-documents` and `train-encoder` have run, or when the documents changed since;
    SearchError when Elasticsearch is away or refuses.
    """
    place = Workspace(root)
    encoder = OnnxEncoder(place.encoder)
    corpus = cut_corpus(params, place, _documents(params, place))
    with _only_one(place.cache / "sweep" / "lock"):
        wait_ready(client, PATIENCE_S)
        candidates = max(params.retrieval.candidates, *params.sweep_retrieval.candidates)
        kept = place.cache / "sweep" / "embeddings"
        with TrialIndexes(client, root, encoder, params.build_index, kept, candidates, progress) as indexes:
            study = _Sweep(params, place, corpus, indexes, progress).study(settings)
    return _told(params, study, write_study(place.sweep, study))


class _Sweep:
    """One sweep of one workspace, component by component."""

    def __init__(
        self, params: Params, place: Workspace, corpus: SweptCorpus, indexes: TrialIndexes, progress: Progress
    ) -> None:
        self._params = params
        self._place = place
        self._corpus = corpus
        self._indexes = indexes
        self._progress = progress
        self._memory = Remembered(place.cache / "sweep" / "finished.jsonl")
        self._in_use = setting_in_use(params)
        folds = {lang: folds_of(corpus.documents_of(lang)) for lang in corpus.questions}
        self._rule = Rule(folds, params.sweep_retrieval.tie_margin, params.seed)
        self._skipped: dict[str, str] = {}
        self._reranker: Reranker | None = None

    def study(self, settings: Settings) -> Study:
        """Everything that was tried, and what it comes to."""
        trials = PointTrials(self._indexes, self._params.retrieval, self._corpus.questions, self._memory)
        points = list(trials.points(list(self._corpus.cuts.values()), grid_of(self._params), self._progress))
        search = self._search_in_use(points)
        choice = choose_search([p for p in points if p.setting.chunking == self._in_use.chunking], search, self._rule)
        current, rivals = self._reranked(search, choice)
        rivals += self._other_cuts(points)
        current, rivals = self._answered(current, rivals, settings)
        chosen, reason = decide(current, rivals, self._rule)
        return Study(
            revision=read_json(self._place.corpus / "manifest.json", "version-documents")["revision"],
            params=self._params,
            corpus=self._corpus,
            points=points,
            current=current,
            rivals=rivals,
            chosen=chosen,
            reason=reason,
            rule=self._rule,
            skipped=self._skipped,
            n_remembered=self._memory.n_found,
        )

    def _search_in_use(self, points: Sequence[Point]) -> Configuration:
        point = next(point for point in points if point.setting == self._in_use)
        return configured("in use", point, {lang: tuning_in_use(self._params, lang) for lang in point.scores})

    def _other_cuts(self, points: Sequence[Point]) -> list[Rival]:
        """The best of each other way of cutting, the most promising first."""
        found = []
        for chunking in self._corpus.cuts:
            of_cut = [point for point in points if point.setting.chunking == chunking]
            if chunking != self._in_use.chunking:
                best = of_cut[choose_point(of_cut, self._rule.everything, self._rule.tie_margin)]
                found.append(Rival(best_tuned(_name(chunking), best)))
        return sorted(found, key=lambda rival: -rival.configuration.quality)

    def _reranked(self, search: Configuration, choice: Choice) -> tuple[Rival, list[Rival]]:
        """What is in use, with its reranking, and its rivals of the same cut: another search, and reranking on top."""
        reranker = self._rereads()
        if reranker is None:
            return Rival(search), [Rival(choice.configuration, choice)]
        in_use = {lang: reread_in_use(self._params, lang) for lang in search.scores}
        current = self._reread(reranker, search, in_use)
        tuned = Rival(self._reread(reranker, choice.configuration, in_use), choice)
        base, gains = search, {lang: np.zeros(len(folds)) for lang, folds in self._rule.folds.items()}
        if choice.verdict != "kept":
            base, gains = choice.configuration, dict(choice.gains)
        rereads = {}
        for lang in base.scores:
            rereads[lang], gain = self._choose_reread(reranker, base, lang)
            gains[lang] = gains[lang] + gain
        both = replace(self._reread(reranker, base, rereads), name="reranking chosen anew")
        return Rival(current), [Rival(both, self._rule.choice(both, gains, current.ms_p50)), tuned]

    def _rereads(self) -> RereadTrials | None:
        folder = self._place.reranker
        if not (folder / MODEL).is_file() and not self._params.retrieval.reranks:  # no reranker: an empty folder
            self._skipped["rerank"] = "there is no models/reranker (see train_encoder.reranker)"
            return None
        reranker = OnnxCrossEncoder(folder)
        self._reranker = reranker
        return RereadTrials(reranker, sha256_file(folder / MODEL), self._memory)

    def _choose_reread(self, reranker: RereadTrials, base: Configuration, lang: Lang) -> tuple[Reread, Any]:
        """How ``lang`` should rerank over ``base``, and what each of its questions gains by it."""
        grid = self._params.sweep_retrieval
        in_use = reread_in_use(self._params, lang)
        tried = [Reread(*chosen) for chosen in product(filter(None, grid.rerank), grid.rerank_weight)]
        rereads = list(dict.fromkeys([in_use, Reread(), *tried]))
        found = self._score_rereads(reranker, base, lang, rereads)
        row, gains = choose_reread(found.scores[0], rereads, 0, lang, self._rule)
        return rereads[row], gains

    def _reread(self, reranker: RereadTrials, base: Configuration, rereads: Mapping[Lang, Reread]) -> Configuration:
        """``base``, reranked in every language as told."""
        result = base
        for lang, reread in rereads.items():
            if reread.depth:
                found = self._score_rereads(reranker, base, lang, [reread])
                ms = base.ms_p50 + reread.depth * found.ms_per_passage
                result = reranked(result, lang, reread, found.scores[:, 0], ms)
        return result

    def _score_rereads(
        self, reranker: RereadTrials, base: Configuration, lang: Lang, rereads: Sequence[Reread]
    ) -> RereadScores:
        cut = self._corpus.cuts[base.setting.chunking]
        retriever = self._indexes.retriever(cut, base.retrieval(self._params.retrieval))
        return reranker.score(retriever, self._corpus.questions[lang], cut.gold, rereads, self._progress)

    def _answered(self, current: Rival, rivals: Sequence[Rival], settings: Settings) -> tuple[Rival, list[Rival]]:
        """What is in use, and the first ``end_to_end`` rivals, with what the ladder's readers answer; no others, since
        answers cannot be held against rankings. All of them as they were where no reader answers.
        """
        n = self._params.sweep_retrieval.end_to_end
        rungs = self._readers(settings) if rivals else []
        if not rungs:
            return current, list(rivals)
        told = [replace(rival, answered=self._answers(rival.configuration, rungs)) for rival in [current, *rivals[:n]]]
        return told[0], told[1:]

    def _readers(self, settings: Settings) -> list[ReadingRung]:
        if not self._params.sweep_retrieval.end_to_end:
            self._skipped["answers"] = "sweep_retrieval.end_to_end is 0"
            return []
        ladder = self._params.ladder
        readers = {name: rung for name, rung in ladder.rungs.items() if rung.kind == "reader"}
        if not readers or not (self._place.reader / "model.onnx").is_file():
            self._skipped["answers"] = "there is no reader: run `palier train-reader`, with a reader on the ladder"
            return []
        only = LadderParams(cpu_usd_per_hour=ladder.cpu_usd_per_hour, rungs=readers)
        loaded = load_rungs(only, self._place.models, self._params.prompt, settings)
        return [
            ReadingRung(rung, readers[name].passages, rung_fingerprint(self._params, name, self._place))
            for name, rung in loaded.items()
        ]

    def _answers(self, configuration: Configuration, rungs: Sequence[ReadingRung]) -> Answered:
        """Mean over the readers: which of them answers, the cascade decides later."""
        cut = self._corpus.cuts[configuration.setting.chunking]
        retriever = self._indexes.retriever(cut, configuration.retrieval(self._params.retrieval), self._reranker)
        questions = {row.id: row.asked() for row in self._corpus.rows}
        said = ask_readers(rungs, retriever, questions, self._memory, self._progress)
        rows = [row.model_dump(mode="json") for row in self._corpus.rows]
        f1 = [[quality(row, each.text) for row, each in zip(rows, part, strict=True)] for part in said.values()]
        everything = [each for part in said.values() for each in part]
        return Answered(
            f1=np.array(f1).mean(axis=0),
            cost_usd=usd(round(float(np.mean([each.cost_nanousd for each in everything])))),
            latency_ms=float(np.mean([each.latency_ms for each in everything])),
        )


def grid_of(params: Params) -> Grid:
    """The grid of the params, with what is in use in it."""
    now, tried = setting_in_use(params), params.sweep_retrieval
    in_use = [tuning_in_use(params, lang) for lang in params.languages]
    weights = [*tried.dense_weight, *(tuning.dense_weight for tuning in in_use)]
    constants = [*tried.rrf_constant, *(tuning.rrf_constant for tuning in in_use if now.fusion == "rrf")]
    return Grid(
        fields=list(dict.fromkeys([now.fields, *tried.fields])),
        exact_weights=list(dict.fromkeys([now.exact_weight, *tried.exact_weight])),
        wording_weights=list(dict.fromkeys([now.wording_weight, *tried.wording_weight])),
        candidates=list(dict.fromkeys([now.candidates, *tried.candidates])),
        tunings={"min_max": tunings_of("min_max", weights, constants), "rrf": tunings_of("rrf", weights, constants)},
    )


def _documents(params: Params, place: Workspace) -> Sequence[Document]:
    """The documents, read again: passages of another length cannot be made of passages."""
    versioned = read_json(place.corpus / "manifest.json", "version-documents")["revision"]
    reading = read_documents(place.documents, params.languages, params.version_documents.max_document_bytes)
    if corpus_revision(reading.documents) != versioned:
        raise NotReadyError(
            f"The documents of {place.documents} are not those of the corpus revision {versioned[:12]}: "
            "run `palier version-documents` first."
        )
    return reading.documents


def _told(params: Params, study: Study, files: tuple[str, ...]) -> SweptRetrieval:
    current, chosen = study.current.configuration, study.chosen.configuration
    return SweptRetrieval(
        n_points=len(study.points),
        n_remembered=study.n_remembered,
        chosen=chosen.name,
        reason=study.reason,
        changes=study.changes,
        recommended=section_yaml("retrieval", study.retrieval),
        skipped=study.skipped,
        files=files,
        metrics={**_prefixed("in_use", current), **_prefixed("chosen", chosen)},
        trials=tuple(_trial(rival, params) for rival in [study.current, *study.rivals]),
    )


def _trial(rival: Rival, params: Params) -> tuple[str, dict[str, Any], dict[str, float]]:
    configuration = rival.configuration
    metrics = _metrics(configuration)
    if rival.choice:
        metrics["ndcg_at_10.gain"] = rival.choice.difference.value
        metrics["ndcg_at_10.gain_low"] = rival.choice.difference.low
    if rival.answered:
        metrics["f1"] = float(rival.answered.f1.mean())
        metrics["cost_usd"] = rival.answered.cost_usd
    told = {
        "retrieval": configuration.retrieval(params.retrieval).model_dump(mode="json"),
        "chunking": asdict(configuration.setting.chunking),
    }
    return configuration.name, told, metrics


def _metrics(configuration: Configuration) -> dict[str, float]:
    found = {
        f"{name}.{lang}": float(row.mean())
        for lang, scores in configuration.scores.items()
        for name, row in zip(METRICS, scores, strict=True)
    }
    return {**found, "ndcg_at_10": configuration.quality, "query_ms_p50": configuration.ms_p50}


def _prefixed(prefix: str, configuration: Configuration) -> dict[str, float]:
    return {f"{prefix}.{name}": value for name, value in _metrics(configuration).items()}


def _name(chunking: Chunking) -> str:
    shared = f", {chunking.overlap_words} shared" if chunking.overlap_words else ""
    return f"passages of {chunking.passage_words} words{shared}"


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Wait for another sweep of this workspace: both would use, and delete, the same temporary indexes."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
