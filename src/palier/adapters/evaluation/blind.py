"""Two rungs side by side for human eyes: a sheet that does not say which is which, and its reading back.

The sheet is CSV, as any spreadsheet opens it; which side is whose stands in a key file of its own, that raters do not
get. Sides are drawn per question, rows are shuffled. Questions that both rungs answered with the same words are left
out: there is nothing to judge. The price: so the shares speak of the questions on which the two differ, and the sheet
says how many do not.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palier.adapters.workspace import read_json, write_json, write_text
from palier.domain.bootstrap import Interval, mean_interval
from palier.domain.text_metrics import normal
from palier.errors import InputError

COLUMNS = ("item", "lang", "question", "reference", "answer_1", "answer_2", "better", "rater", "comment")
VERDICTS = ("1", "2", "tie")
NO_ANSWER = "(no answer)"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class BlindPair:
    """One question with what two rungs said; empty is "I don't know"."""

    query_id: str
    lang: str
    question: str
    reference: str
    answers: tuple[str, str]


@dataclass(frozen=True)
class BlindResult:
    """Judgements read back. ``preference`` is the share won by the first rung, a tie as one half.

    ``agreement`` is the share of items, judged by the first two raters, with the same verdict; ``kappa`` is Cohen's.
    """

    rungs: tuple[str, str]
    n_judged: int
    wins: Mapping[str, int]
    ties: int
    preference: Interval
    raters: tuple[str, ...]
    agreement: float | None
    kappa: float | None


def key_file(sheet: Path) -> Path:
    """Where the key of ``sheet`` lies: beside it."""
    return sheet.with_name(f"{sheet.stem}.key.json")


def write_sheet(sheet: Path, rungs: tuple[str, str], pairs: Sequence[BlindPair], rng: np.random.Generator) -> int:
    """Write the sheet and its key; how many rows it has. InputError where the rungs never differ."""
    differing = [pair for pair in pairs if _differ(pair)]
    if not differing:
        raise InputError(f"{rungs[0]} and {rungs[1]} say the same to all {len(pairs)} questions: nothing to judge.")
    order = [differing[i] for i in rng.permutation(len(differing)).tolist()]
    swapped = rng.integers(0, 2, len(order)).astype(bool).tolist()
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    items = {}
    for number, (pair, swap) in enumerate(zip(order, swapped, strict=True), 1):
        shown = pair.answers[::-1] if swap else pair.answers
        cells = (pair.lang, pair.question, pair.reference, *(answer or NO_ANSWER for answer in shown))
        writer.writerow([number, *map(_safe, cells), "", "", ""])
        items[str(number)] = {"query_id": pair.query_id, "rungs": list(rungs[::-1] if swap else rungs)}
    write_text(sheet, "\ufeff" + text.getvalue())  # the mark by which spreadsheets know UTF-8
    write_json(key_file(sheet), {"rungs": list(rungs), "n_same": len(pairs) - len(differing), "items": items})
    return len(order)


def read_sheets(sheets: Sequence[Path], rng: np.random.Generator) -> BlindResult:
    """The judgements of one or more filled sheets (copies, one per rater, or one with a column of raters).

    The key lies beside the first sheet. A row without a verdict is left out. Raises InputError for another verdict
    than 1, 2 or tie, an unknown item, a rater who judged an item twice, or when nothing is judged.
    """
    key = read_json(key_file(sheets[0]), "evaluate-models --blind-out")
    first, second = key["rungs"]
    judged: dict[str, dict[str, str]] = {}
    for sheet in sheets:
        for rater, item, winner in _verdicts(sheet, key["items"]):
            if item in judged.setdefault(rater, {}):
                raise InputError(f"{sheet}: {rater!r} judged item {item} twice. Give each rater a name of their own.")
            judged[rater][item] = winner
    every = [(item, winner) for verdicts in judged.values() for item, winner in verdicts.items()]
    if not every:
        raise InputError("No row has a verdict: write 1, 2 or tie into the column `better`.")
    counts = Counter(winner for _, winner in every)
    agreement, kappa = _agreement(list(judged.values()))
    return BlindResult(
        rungs=(first, second),
        n_judged=len(every),
        wins={first: counts[first], second: counts[second]},
        ties=counts["tie"],
        preference=mean_interval(_per_item(every, first), rng),
        raters=tuple(judged),
        agreement=agreement,
        kappa=kappa,
    )


def _differ(pair: BlindPair) -> bool:
    said = [normal(answer, "fr" if pair.lang == "fr" else "en") for answer in pair.answers]
    return said[0] != said[1]


def _safe(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _verdicts(sheet: Path, items: Mapping[str, Mapping[str, Sequence[str]]]) -> list[tuple[str, str, str]]:
    """(rater, item, rung that won or "tie") of each filled row; the sheet's name is the rater where none is given."""
    try:
        text = sheet.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{sheet} cannot be read: {error}. Save the sheet as CSV in UTF-8.") from error
    head = text.split("\n", 1)[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    if not {"item", "better"} <= set(rows.fieldnames or ()):
        raise InputError(f"{sheet} has no columns `item` and `better`: keep the first line of the sheet as it was.")
    found = []
    for row in rows:
        verdict, item = (row["better"] or "").strip().casefold(), (row["item"] or "").strip()
        if not verdict:
            continue
        if item not in items or verdict not in VERDICTS:
            raise InputError(f"{sheet}: item {item!r} is judged {verdict!r}; better must be 1, 2 or tie, of this key.")
        rater = (row.get("rater") or "").strip() or sheet.stem
        found.append((rater, item, "tie" if verdict == "tie" else items[item]["rungs"][int(verdict) - 1]))
    return found


def _per_item(every: Sequence[tuple[str, str]], first: str) -> list[float]:
    """The first rung's share of each item, mean over raters: the items are what is resampled."""
    worth: dict[str, list[float]] = {}
    for item, winner in every:
        worth.setdefault(item, []).append(0.5 if winner == "tie" else float(winner == first))
    return [sum(values) / len(values) for values in worth.values()]


def _agreement(judged: Sequence[Mapping[str, str]]) -> tuple[float | None, float | None]:
    if len(judged) < 2:
        return None, None
    both = sorted(set(judged[0]) & set(judged[1]))
    if not both:
        return None, None
    one, other = [judged[0][item] for item in both], [judged[1][item] for item in both]
    same = sum(a == b for a, b in zip(one, other, strict=True)) / len(both)
    if len({*one, *other}) == 1:
        return same, None  # one verdict alone: kappa is not defined
    from sklearn.metrics import cohen_kappa_score

    return same, float(cohen_kappa_score(one, other))
