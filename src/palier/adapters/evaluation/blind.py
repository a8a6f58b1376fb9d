"""Two rungs side by side for human eyes: a sheet that does not say which is which, and its reading back.

The sheet is CSV, as any spreadsheet opens it; which side is whose stands in a key file of its own, that raters do not
get. Sides are drawn per question, rows are shuffled. Questions that both rungs answered with the same words are left
out: there is nothing to judge. The price: so the shares speak of the questions on which the two differ, and the result
says how many do not.

Raters' work is not to be lost or misread: no sheet is written over another, and the key knows the words of each row.
"""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palier.adapters.workspace import read_json, write_json, write_text
from palier.domain.bootstrap import Interval, mean_interval
from palier.domain.text_metrics import normal
from palier.errors import InputError

COLUMNS = ("item", "lang", "question", "reference", "answer_1", "answer_2", "better", "rater", "comment")
VERDICTS = ("1", "2", "tie")
NO_ANSWER = "(no answer)"
_NEEDED = ("item", "question", "answer_1", "answer_2", "better")
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

    ``n_same`` questions were left out of the sheet: both rungs said the same.
    ``agreement`` is the share of items, judged by the first two raters, with the same verdict; ``kappa`` is Cohen's.
    """

    rungs: tuple[str, str]
    n_judged: int
    n_same: int
    wins: Mapping[str, int]
    ties: int
    preference: Interval
    raters: tuple[str, ...]
    agreement: float | None
    kappa: float | None


def key_file(sheet: Path) -> Path:
    """Where the key of ``sheet`` lies: beside it."""
    return sheet.with_name(f"{sheet.stem}.key.json")


def refuse_old_sheet(sheet: Path) -> None:
    """InputError where the sheet or its key is there already: raters may have filled in this one or a copy of it."""
    for path in (sheet, key_file(sheet)):
        if path.exists():
            raise InputError(
                f"{path} is there already, raters' work may hang on it. Choose another name, or delete sheet and key."
            )


def write_sheet(sheet: Path, rungs: tuple[str, str], pairs: Sequence[BlindPair], rng: np.random.Generator) -> int:
    """Write the sheet and its key; how many rows it has.

    Raises InputError where the rungs never differ, or one of the two files is there already.
    """
    refuse_old_sheet(sheet)
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
        items[str(number)] = {
            "query_id": pair.query_id,
            "rungs": list(rungs[::-1] if swap else rungs),
            "digest": _digest(cells[1], *cells[3:]),
        }
    write_text(sheet, "\ufeff" + text.getvalue())  # the mark by which spreadsheets know UTF-8
    write_json(key_file(sheet), {"rungs": list(rungs), "n_same": len(pairs) - len(differing), "items": items})
    return len(order)


def read_sheets(sheets: Sequence[Path], rng: np.random.Generator) -> BlindResult:
    """The judgements of one or more filled sheets (copies, one per rater, or one with a column of raters).

    The key lies beside the first sheet. A row without a verdict is left out. Raises InputError without the key, for
    another verdict than 1, 2 or tie, an unknown item, a row of another sheet, a rater who judged an item twice, or when
    nothing is judged.
    """
    key_path = key_file(sheets[0])
    if not key_path.is_file():
        raise InputError(
            f"{key_path} is not there. Lay the key that was written with the sheet beside {sheets[0].name} under that "
            "name, or name the sheet that has it first."
        )
    key = read_json(key_path, "evaluate-models --blind-out")
    first, second = key["rungs"]
    judged: dict[str, dict[str, str]] = {}
    for sheet in sheets:
        for rater, item, winner in _verdicts(sheet, key_path, key["items"]):
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
        n_same=key["n_same"],
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


def _digest(*cells: str) -> str:
    """Of the words of question and answers: spreadsheets change blanks and line ends, and rewrite a lone number."""
    words = [re.sub(r"[\W_]+", "", cell).casefold() if re.search(r"[^\W\d_]", cell) else "" for cell in cells]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def _rows(sheet: Path) -> list[dict[str, str]]:
    """The rows by column, a missing cell as "". InputError where a column that is read is missing."""
    try:
        text = sheet.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{sheet} cannot be read: {error}. Save the sheet as CSV in UTF-8.") from error
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", delimiter=delimiter)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"{sheet} is no CSV: {error}. A quotation mark may lack its pair: save it anew.") from error
    missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{sheet} has no column {', '.join(missing)}: keep the first line of the sheet as it was.")
    return rows


def _verdicts(sheet: Path, key_path: Path, items: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """(rater, item, rung that won or "tie") of each filled row; the sheet's name is the rater where none is given."""
    found = []
    for row in _rows(sheet):
        verdict, item = _whole(row["better"].casefold()), _whole(row["item"])
        if not verdict:
            continue
        if item not in items or verdict not in VERDICTS:
            raise InputError(f"{sheet}: item {item!r} is judged {verdict!r}; better must be 1, 2 or tie, of this key.")
        if _digest(row["question"], row["answer_1"], row["answer_2"]) != items[item].get("digest"):
            raise InputError(
                f"{sheet}: question or answers of item {item} ({row['question'][:60]!r}) are not those of {key_path}. "
                "Read it beside the key that was written with it, its words as they were."
            )
        rater = row.get("rater", "").strip() or sheet.stem
        found.append((rater, item, "tie" if verdict == "tie" else items[item]["rungs"][int(verdict) - 1]))
    return found


def _whole(cell: str) -> str:
    """``cell`` without the decimals that a spreadsheet gave a whole number: "1.0" and "1,0" are "1"."""
    return re.sub(r"[.,]0+$", "", cell.strip())


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
