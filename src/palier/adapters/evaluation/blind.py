"""Two rungs side by side for human eyes: a sheet that does not say which is which, and its reading back.

The sheet is CSV, as any spreadsheet opens it; which side is whose stands in a key file of its own, that raters do not
get. Sides are drawn per question, rows are shuffled. Questions that both rungs answered with the same words are left
out: there is nothing to judge. The price: so the shares speak of the questions on which the two differ, and the result
says how many do not.

Raters' work is not to be lost or misread. No sheet is written over another. A row is known by its id, which is made of
its words, so that an earlier sheet's row is never taken for one of this sheet; and since spreadsheets write cells anew
(numbers, dates, quotation marks, line ends, encodings), its words only have to look like those that the key holds. A
row of which that cannot be said is left out by itself, and told. The price: a lone number can become any other unseen.
"""

import codecs
import csv
import hashlib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
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
ALIKE = 0.6
"""Similarity (0..1, difflib's ratio) of a cell to what was written there, from which on it is still that."""
_JUDGED = ("question", "answer_1", "answer_2")
_NEEDED = ("item", *_JUDGED, "better")
_FORMULA = re.compile(r"(^|[;\t\r\n])(\s*)(?=[=+\-@＝＋－＠])")
"""Where a spreadsheet could begin a formula: a cell's start, and what it may take for one (the separators of another
country, a line end)."""
_CONSONANTS = "bcdfghjklmnpqrst"  # no spreadsheet finds a number or a month in them


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

    ``n_same`` questions were left out of the sheet: both rungs said the same. ``left_out`` tells of each judgement that
    is not counted, and why.
    ``agreement`` is the share of items, judged by the first two raters, with the same verdict; ``kappa`` is Cohen's.
    """

    rungs: tuple[str, str]
    n_judged: int
    n_same: int
    left_out: tuple[str, ...]
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
        said = (pair.question, *(answer or NO_ANSWER for answer in shown))
        item = f"{number}-{_letters(said)}"
        cells = (pair.lang, said[0], pair.reference, *said[1:])
        writer.writerow([item, *map(_safe, cells), "", "", ""])
        items[item] = {"query_id": pair.query_id, "rungs": list(rungs[::-1] if swap else rungs), "said": list(said)}
    write_text(sheet, "\ufeff" + text.getvalue())  # the mark by which spreadsheets know UTF-8
    write_json(key_file(sheet), {"rungs": list(rungs), "n_same": len(pairs) - len(differing), "items": items})
    return len(order)


def read_sheets(sheets: Sequence[Path], rng: np.random.Generator) -> BlindResult:
    """The judgements of one or more filled sheets (copies, one per rater, or one with a column of raters).

    The key lies beside the first sheet. A row without a verdict is not judged; one with another verdict than 1, 2 or
    tie, of another sheet, or whose words are no longer its own is left out and told. Raises InputError without the key,
    for a file that is no such sheet, a rater who judged an item twice, or when nothing is left.
    """
    key_path = key_file(sheets[0])
    if not key_path.is_file():
        raise InputError(
            f"{key_path} is not there. Lay the key that was written with the sheet beside {sheets[0].name} under that "
            "name, or name the sheet that has it first."
        )
    key = read_json(key_path, "evaluate-models --blind-out")
    first, second = key["rungs"]
    known = _Key(key["items"])
    judged: dict[str, dict[str, str]] = {}
    left_out = []
    for sheet in sheets:
        for row in _rows(sheet):
            verdict, item = _whole(row["better"].casefold()), row["item"].strip().casefold()
            if not verdict:
                continue
            if reason := known.why_not(item, verdict, row):
                left_out.append(f"{sheet.name}: item {item!r}: {reason}")
                continue
            rater = row.get("rater", "").strip() or sheet.stem
            if item in judged.setdefault(rater, {}):
                raise InputError(f"{sheet}: {rater!r} judged item {item} twice. Give each rater a name of their own.")
            judged[rater][item] = known.winner(item, verdict)
    every = [(item, winner) for verdicts in judged.values() for item, winner in verdicts.items()]
    if not every:
        told = "".join(f"\n  {one}" for one in left_out)
        raise InputError(f"No row has a verdict that counts: write 1, 2 or tie into the column `better`.{told}")
    counts = Counter(winner for _, winner in every)
    agreement, kappa = _agreement(list(judged.values()))
    return BlindResult(
        rungs=(first, second),
        n_judged=len(every),
        n_same=key["n_same"],
        left_out=tuple(left_out),
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
    """A cell in which no spreadsheet finds a formula, whatever it takes for a separator."""
    return _FORMULA.sub(r"\1\2'", cell)


def _letters(said: Sequence[str]) -> str:
    """Six letters that stand for a row's words."""
    digest = hashlib.sha256("\n".join(said).encode()).digest()
    return "".join(_CONSONANTS[byte % len(_CONSONANTS)] for byte in digest[:6])


@dataclass(frozen=True)
class _Key:
    """Whose sides were shown in each item, and with which words."""

    items: Mapping[str, Mapping[str, Any]]

    def winner(self, item: str, verdict: str) -> str:
        """The rung that won, or "tie"."""
        return "tie" if verdict == "tie" else str(self.items[item]["rungs"][int(verdict) - 1])

    def why_not(self, item: str, verdict: str, row: Mapping[str, str]) -> str:
        """Why the judgement cannot be counted; empty where it can."""
        if item not in self.items:
            return "the key has no such item, so it is of another sheet"
        if verdict not in VERDICTS:
            return f"judged {verdict!r}; better must be 1, 2 or tie"
        own = self.items[item]["said"]
        changed = [name for name, told in zip(_JUDGED, own, strict=True) if not _is_still(row[name], told, self._words)]
        if changed:
            return f"{', '.join(changed)} are not the words that the key has ({row[changed[0]][:60]!r})"
        return ""

    @cached_property
    def _words(self) -> set[str]:
        return {_bare(cell) for item in self.items.values() for cell in item["said"]}


def _is_still(found: str, told: str, words: Collection[str]) -> bool:
    """Whether a spreadsheet may have made the cell ``found`` of ``told``, and it is no other one of ``words``."""
    here, there = _bare(found), _bare(told)
    if here == there or not here:
        return here == there
    if _has_letters(here) and here in words:  # columns that were sorted apart
        return False
    if not _has_letters(there) or (re.search(r"\d", there) and not _has_letters(here)):
        return True  # numbers, prices, dates and times are written anew
    return SequenceMatcher(None, here, there, autojunk=False).ratio() >= ALIKE


def _bare(cell: str) -> str:
    """Letters and digits alone: blanks, line ends, quotation marks and case come back changed."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", cell)).casefold()


def _has_letters(cell: str) -> bool:
    return re.search(r"[^\W\d_]", cell) is not None


def _rows(sheet: Path) -> Iterator[dict[str, str]]:
    """The rows by column, a missing cell as "". InputError where a column that is read is missing."""
    text = _text(sheet)
    head = re.split(r"[\r\n]", text, maxsplit=1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        first, *rows = list(reader) or [[]]
    except csv.Error as error:
        raise InputError(f"{sheet} is no CSV: {error}. A quotation mark may lack its pair: save it anew.") from error
    columns = [name.strip().casefold() for name in first]
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise InputError(f"{sheet} has no column {', '.join(missing)}: keep the first line of the sheet as it was.")
    return (dict.fromkeys(columns, "") | dict(zip(columns, row, strict=False)) for row in rows)


def _text(sheet: Path) -> str:
    """What the file says, in any of the encodings that spreadsheets save CSV in."""
    try:
        data = sheet.read_bytes()
    except OSError as error:
        raise InputError(f"{sheet} cannot be read: {error}.") from error
    if data.startswith(b"PK"):
        raise InputError(f"{sheet} is a workbook, not CSV: open it and save the sheet as CSV.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # "CSV" of a spreadsheet in Western Europe


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
