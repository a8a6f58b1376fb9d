"""The report in words: which table and which drawing says which finding.

Knows findings and pages; measures nothing. French and English stand side by side in every table of answers. The price:
what a section says about its numbers is general, so a reader must look at the intervals, not at our adjectives.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from palier.adapters.evaluation import plots
from palier.adapters.evaluation.answer_measures import NAMES
from palier.adapters.evaluation.findings import BySlice, Findings
from palier.adapters.evaluation.page import Figure, Page, Section, Table, said
from palier.adapters.evaluation.scorer_measures import CurvePoint, ScorerMeasures
from palier.domain.bootstrap import Interval
from palier.domain.slices import SliceGap

LANGUAGES = {"all": "All", "en": "English", "fr": "French"}
AXES = {
    "language": "Language",
    "kind": "What is asked (by the first words)",
    "length": "Length of the question",
    "golden": "Kind of golden question",
}
BASELINES = {
    "best_overlap_sentence": "Sentence of the best passage that shares most words with the question",
    "first_bm25_sentence": "First sentence of the best BM25 hit",
    "untuned_writer": "The writer as it comes, untuned",
}
NOISES = {
    "typos": "Typing errors",
    "no_accents": "No accents",
    "upper_case": "Upper case",
    "padding": "Every second passage beside the point",
}
OVERVIEW = ("f1", "share_answered", "no_answer_f1", "citation_correct", "cost_usd", "latency_ms")
MEASURES_OF_BASELINES = ("f1", "share_answered", "em", "citation_correct", "bleu", "rouge_l", "meteor")


def page_of(findings: Findings, title: str, facts: Sequence[tuple[str, str]]) -> Page:
    """The whole report; sections without a finding are left out, and the last one says why."""
    lead = (
        "↑: more is better; ↓: less is better. Numbers in brackets are 95 % bootstrap intervals over questions, each "
        "drawn with all its answers; n counts them. An ECE has no interval, but beside it stands what of it is chance. "
        "An abstention counts as 0 where there is an answer, so read F1 beside the share answered."
    )
    return Page(title, lead, facts, [section for section in _sections(findings) if section.parts])


def _sections(findings: Findings) -> Iterator[Section]:
    yield _overview(findings)
    yield _answers(findings)
    yield _baselines(findings)
    yield _scorer(findings)
    yield _curves(findings)
    yield _noise(findings)
    yield _slices(findings)
    yield _writer(findings)
    rows = [(what, why) for what, why in sorted(findings.not_measured.items())]
    yield Section(
        "not-measured",
        "Not measured",
        "What this report would hold on another workspace or with other options.",
        [Table("What was left out, and why", ("What", "Why"), rows)] if rows else (),
    )


def _overview(findings: Findings) -> Section:
    everything = {rung: slices["all"] for rung, slices in findings.rungs.items()}
    rows = [(rung, *(_cell(key, measured.get(key)) for key in OVERVIEW)) for rung, measured in everything.items()]
    columns = ("Answers of", *(NAMES[key] for key in OVERVIEW))
    drawn = everything | {
        f"baseline: {name.replace('_', ' ')}": slices["all"] for name, slices in findings.baselines.items()
    }
    f1 = {name: found for name, measured in drawn.items() if (found := measured.get("f1"))}
    parts: list[Table | Figure] = [Table("Rungs side by side, all languages", columns, rows)] if rows else []
    if f1:
        parts.append(_dots("F1 on answerable questions, with 95 % interval", "F1", f1))
    return Section(
        "overview",
        "Overview",
        "What each rung is worth and costs, cheap to dear, and what the cascade makes of them. Intervals that overlap "
        "may still hide a difference, since all answer the same questions.",
        parts,
    )


def _answers(findings: Findings) -> Section:
    tables = [_by_language(rung, slices, NAMES) for rung, slices in findings.rungs.items()]
    bleu = [(rung, f"{score:.1f}") for rung, score in findings.corpus_bleu.items()]
    if bleu:
        tables.append(Table("Corpus BLEU (sacrebleu, 0 to 100)", ("Rung", "Corpus BLEU"), bleu))
    return Section(
        "answers",
        "Answers",
        "Each rung of the ladder alone, and the cascade as it would be served, end to end over retrieved passages. F1 "
        "and exact match count answerable questions. Repeated 3-grams are the share that an answer had said before.",
        tables,
    )


def _by_language(name: str, slices: BySlice, measures: Mapping[str, str]) -> Table:
    columns = [key for key in LANGUAGES if key in slices]
    rows = []
    for key, label in measures.items():
        cells = [slices[column].get(key) for column in columns]
        if any(cells):
            rows.append((label, *(_cell(key, cell) for cell in cells)))
    return Table(name, ("Measure", *(LANGUAGES[column] for column in columns)), rows)


def _cell(key: str, found: Interval | None) -> str:
    """A measure of answers in the unit that `NAMES` says."""
    if key == "cost_usd" and found is not None:
        return said(replace(found, value=1000 * found.value, low=1000 * found.low, high=1000 * found.high), 6)
    return said(found, 1 if key == "latency_ms" else 3)


def _dots(caption: str, label: str, rows: Mapping[str, Interval], reference: float | None = None) -> Figure:
    told = ", ".join(f"{name} {interval.value:.2f}" for name, interval in rows.items())
    return Figure(caption, plots.bars(rows, label, reference), f"{caption}: {told}.")


def _baselines(findings: Findings) -> Section:
    names = {key: NAMES[key] for key in MEASURES_OF_BASELINES}
    tables = [_by_language(BASELINES.get(name, name), slices, names) for name, slices in findings.baselines.items()]
    return Section(
        "baselines",
        "Baselines",
        "Answers that need no training of ours, over the same retrieved passages. The sentences never abstain.",
        tables,
    )


def _scorer(findings: Findings) -> Section:
    parts: list[Table | Figure] = []
    if findings.scorer:
        rows = [
            (
                LANGUAGES.get(whose, whose),
                str(found.n),
                f"{found.share_acceptable:.2f}",
                said(found.auc),
                _said(found.ece),
                _said(found.ece_by_chance),
                said(found.brier),
            )
            for whose, found in findings.scorer.items()
        ]
        columns = (
            "Answers of",
            "Rows",
            "Acceptable",
            "AUC\u00a0↑",
            "ECE\u00a0↓",
            "ECE by chance",
            "Brier score\u00a0↓",
        )
        parts.append(Table("Ranking and calibration", columns, rows))
    if everything := findings.scorer.get("all"):
        parts += [_thresholds(everything), _reliability(everything)]
    return Section(
        "scorer",
        "Scorer",
        "How well the score tells good answers from bad ones (acceptable: a quality of at least one half), and whether "
        "it promises what comes. AUC .5 is chance. ECE is over bins of equal count; chance alone makes it larger, and "
        "of so few answers a perfectly calibrated scorer would show about the ECE by chance.",
        parts,
    )


def _thresholds(found: ScorerMeasures) -> Table:
    rows = [
        (
            f"{at.threshold:.3f}",
            f"{at.share_accepted:.3f}",
            f"{at.accuracy:.3f}",
            _said(at.precision),
            _said(at.recall),
        )
        for at in found.thresholds
    ]
    columns = ("Threshold", "Accepted", "Accuracy", "Precision\u00a0↑", "Recall\u00a0↑")
    return Table(f"Accepting answers at a threshold, those of the cascade among them, {found.n} answers", columns, rows)


def _said(found: Interval | float | None) -> str:
    """As `said`, also of a number that has no interval."""
    return f"{found:.3f}" if isinstance(found, float) else said(found)


def _reliability(found: ScorerMeasures) -> Figure:
    told = "; ".join(f"{one.score:.2f}: {one.quality.value:.2f}" for one in found.bins)
    n_bins = len(found.bins)
    return Figure(
        f"Reliability: {n_bins} bins of about {round(found.n / n_bins)} answers. On the dashed line answers are as "
        "good as the score promised; below it the score promised too much.",
        plots.reliability(found.bins),
        f"Reliability diagram. Mean score and, after the colon, mean quality of each bin: {told}.",
    )


def _curves(findings: Findings) -> Section:
    curves = (
        ("Scorer", findings.scorer_curve, {"auc": "AUC", "ece": "ECE", "ece_by_chance": "ECE by chance"}),
        ("Reader", findings.reader_curve, {"f1": "F1", "share_answered": "Share answered"}),
    )
    drawn = [(name, points, names) for name, points, names in curves if points]
    return Section(
        "learning-curve",
        "Learning curve",
        "What so much of the training data teaches, measured on the same test questions; whole documents are drawn. "
        "The readers of the curve have learnt from golden questions alone, never from feedback.",
        [part for curve in drawn for part in (_curve_table(*curve), _curve_figure(*curve))],
    )


def _curve_table(name: str, points: Sequence[CurvePoint], names: Mapping[str, str]) -> Table:
    rows = [
        (f"{point.share:.0%}", str(point.n_rows), *(_said(point.measures[key]) for key in names)) for point in points
    ]
    return Table(f"{name}: learning curve", ("Data", "Training rows", *names.values()), rows)


def _curve_figure(name: str, points: Sequence[CurvePoint], names: Mapping[str, str]) -> Figure:
    key, label = next(iter(names.items()))
    known = [(point.share, point.measures[key]) for point in points]
    told = ", ".join(f"{share:.0%}: {one.value:.2f}" for share, one in known if isinstance(one, Interval))
    caption = f"{name}: {', '.join(names.values())} by share of the training data"
    return Figure(caption, plots.curve(points, names), f"{name}: {label} by share of the training data: {told}.")


def _noise(findings: Findings) -> Section:
    tables = []
    for rung, noises in findings.noise.items():
        rows = [
            (
                NOISES[noise],
                said(one.f1),
                said(one.share_answered),
                said(one.change),
                _verdict(one.change),
                str(one.n_changed),
            )
            for noise, one in noises.items()
        ]
        columns = ("Noise", "F1\u00a0↑", "Share answered", "Change of F1", "So it is", "Questions touched")
        tables.append(Table(f"{rung} under noise, answerable questions", columns, rows))
    return Section(
        "noise",
        "Quality under noise",
        "The same questions again, from the search on: misspelt, without accents, in capitals, or with passages that "
        "have nothing to do with them among those that are read. The change is paired with the clean question; it is "
        "called better or worse where its interval misses 0.",
        tables,
    )


def _verdict(change: Interval | None) -> str:
    """Which side of 0 the whole interval lies on."""
    if change is None or change.low <= 0 <= change.high:
        return "no clear difference"
    return "worse" if change.high < 0 else "better"


def _slices(findings: Findings) -> Section:
    parts: list[Table | Figure] = []
    apart = []
    for rung, axes in findings.slices.items():
        for axis, gaps in axes.items():
            if len(gaps) > 1:
                parts += [
                    _slice_table(f"{rung}: {AXES[axis].lower()}", gaps),
                    _slice_figure(findings, rung, axis, gaps),
                ]
            apart += [
                (rung, AXES[axis], LANGUAGES.get(one.name, one.name), said(one.mean), said(one.gap), _verdict(one.gap))
                for one in gaps
                if len(gaps) > 1 and _verdict(one.gap) in ("worse", "better")
            ]
    columns = ("Answers of", "Sliced by", "Slice", "Quality\u00a0↑", "Above the others by", "So it is")
    if apart:
        parts.insert(0, Table("Slices that are better or worse than the rest", columns, apart))
    return Section(
        "slices",
        "Gaps between slices",
        "Quality of one kind of question against all others; better or worse where the interval of the gap misses 0. "
        "With many slices about one in twenty does so by chance.",
        parts,
    )


def _slice_table(caption: str, gaps: Sequence[SliceGap]) -> Table:
    rows = [(LANGUAGES.get(one.name, one.name), said(one.mean), said(one.gap)) for one in gaps]
    return Table(caption, ("Slice", "Quality\u00a0↑", "Above the others by"), rows)


def _slice_figure(findings: Findings, rung: str, axis: str, gaps: Sequence[SliceGap]) -> Figure:
    named = {LANGUAGES.get(one.name, one.name): one.mean for one in gaps}
    whole = findings.rungs[rung]["all"].get("quality")
    caption = f"{rung}: quality by {AXES[axis].lower()}"
    return _dots(caption, "quality (0 to 1), with 95 % interval", named, whole.value if whole else None)


def _writer(findings: Findings) -> Section:
    rows = [
        (name, f"{one.value:.2f}", f"{one.low:.2f} to {one.high:.2f}", str(one.n_answers), str(one.n_tokens))
        for name, one in findings.perplexity.items()
    ]
    columns = ("Writer", "Perplexity\u00a0↓", "95 % interval", "Answers", "Tokens")
    return Section(
        "writer",
        "Writer",
        "How much the gold answers surprise the writer, each beside the evidence that holds it; 1 is no surprise.",
        [Table("Perplexity of the gold answers, per token", columns, rows)] if rows else (),
    )
