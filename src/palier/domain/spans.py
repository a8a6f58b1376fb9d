"""Where an answer stands in a text: its occurrences, the line or sentence around it, the items of a list or table.

Knows characters, lines and Markdown's bullets and pipes; nothing of models. What it gives back as a quote stands
word for word in the text. The price of reading lines instead of parsing: a pipe inside a table cell starts a cell.
"""

import re
from collections.abc import Sequence

_BULLET = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+")
_RULE = re.compile(r"^[\s|:=-]+$")
_SENTENCE_END = re.compile(r"[.!?…]['\"»”)*_]*\s+(?=[\"'«“(*_]*[\w])")
_CODE = re.compile(r"`([^`\n]+)`")
_EMPHASIS = re.compile(
    r"(\*\*|__)(?=\S)(?P<strong>.+?)(?<=\S)\1|(?<!\w)([*_])(?=\w)(?P<soft>.+?)(?<=[\w.!?%)])\3(?!\w)"
)
_HALF_EMPHASIS = re.compile(r"(?<!\w)\*{1,2}(?=\w)|(?<=[\w.,;:!?%)€$])\*{1,2}(?!\w)|`")
_DASH = re.compile(r"^[ \t]*(?:[*•]|[-+–](?![ \t]*\d))[ \t]+")
_REMARK = re.compile(r"^[\s*_]*([(:–—→])")
_LABEL = re.compile(r"([:–—→])\s*[*_]*\s*$")
ITEMS = "; "


def occurrences(text: str, answer: str) -> tuple[tuple[int, int], ...]:
    """All (start, end) of ``answer`` in ``text`` as whole words; case, emphasis marks and line ends aside.

    Marks that stand alone are none of the words: "_ _ _" could be laid over a blank to be filled in in countless ways.
    """
    words = [word for word in answer.split() if word.strip("*_`")]
    if not words:
        return ()
    pattern = r"[\s*_`]+".join(re.escape(word) for word in words)
    before = r"(?<!\w)" if words[0][0].isalnum() else ""
    after = r"(?!\w)" if words[-1][-1].isalnum() else ""
    return tuple(match.span() for match in re.finditer(before + pattern + after, text, re.IGNORECASE))


def plain_answer(text: str) -> str:
    """``text`` as it is said: without emphasis, a dash before it, outer pipes and surplus white space.

    Signs stay ("- 18 °C", "+ 33 1 44"), and so does whatever stands between backticks.
    """
    pieces = _CODE.split(_DASH.sub("", text))  # every second one is code
    bare = "".join(piece if place % 2 else _without_emphasis(piece) for place, piece in enumerate(pieces))
    return " ".join(bare.split()).strip(" |;,:")


def _without_emphasis(text: str) -> str:
    """A mark alone goes where it touches a word on one side: a span may begin or end within what is emphasised."""
    return _HALF_EMPHASIS.sub("", _EMPHASIS.sub(lambda pair: pair["strong"] or pair["soft"], text))


def span_answer(text: str, start: int, end: int) -> str:
    """The characters from ``start`` to ``end`` as they are said: a bullet is one where it begins its line ("1. FC
    Köln" elsewhere is a club), and code stays as it is.
    """
    first, last = text.rfind("\n", 0, start) + 1, _line_end(text, end)
    said, before = text[start:end], text[first:start]
    if before.count("`") % 2 and "`" in text[end:last]:
        return " ".join(said.replace("`", "").split())
    return plain_answer(said if before.strip() else _BULLET.sub("", said))


def quote_around(text: str, start: int, end: int) -> str:
    """The piece of ``text`` that holds the span: whole lines of a list or table, or else whole sentences."""
    start, end = _without_space(text, start, end)
    first, last = text.rfind("\n", 0, start) + 1, _line_end(text, max(start, end - 1))
    lines = text[first:last]
    if "\n" in lines or "|" in lines or _BULLET.match(lines):
        return lines.strip()
    first, last = _paragraph(text, first, last)
    breaks = [first, *(first + match.end() for match in _SENTENCE_END.finditer(text[first:last])), last]
    return text[max(b for b in breaks if b <= start) : min(b for b in breaks if b >= end)].strip()


def block_answer(text: str, start: int, end: int) -> str:
    """The items that a span over several lines covers, joined by "; ": a table's column, or the items of a list.

    A span within one line is not a block: it is given back as it is.
    """
    start, end = _without_space(text, start, end)
    first, last = text.rfind("\n", 0, start) + 1, _line_end(text, max(start, end - 1))
    lines = [line for line in text[first:last].split("\n") if line.strip()]
    if len(lines) < 2:
        return span_answer(text, start, end)
    before = start - first
    after = end - (text.rfind("\n", 0, end) + 1)
    items = _cells(lines, before, after) if "|" in lines[0] else _list_items(lines, before)
    if remark := _REMARK.match(lines[-1][after:]):  # the last item stops before a remark: so do the others
        items = [item.split(remark[1], 1)[0] for item in items]
    return ITEMS.join(plain for item in items if (plain := plain_answer(item)))


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without outer white space; of nothing but space, an empty span at its start."""
    inner = text[start:end].strip()
    start += len(text[start:end]) - len(text[start:end].lstrip()) if inner else 0
    return start, start + len(inner)


def _line_end(text: str, position: int) -> int:
    found = text.find("\n", position)
    return len(text) if found < 0 else found


def _paragraph(text: str, first: int, last: int) -> tuple[int, int]:
    """The bounds of the paragraph around whole lines: blank lines, bullets, tables and headings end it."""
    while first > 0 and _is_prose(text[text.rfind("\n", 0, first - 1) + 1 : first - 1]):
        first = text.rfind("\n", 0, first - 1) + 1
    while last < len(text) and _is_prose(text[last + 1 : _line_end(text, last + 1)]):
        last = _line_end(text, last + 1)
    return first, last


def _is_prose(line: str) -> bool:
    return bool(line.strip()) and "|" not in line and not _BULLET.match(line) and not line.startswith("#")


def _cells(lines: Sequence[str], before: int, after: int) -> list[str]:
    """The cells of the rows from the column where the span starts to the one where it ends."""
    left = lines[0][:before].count("|")
    right = max(left, lines[-1][: max(0, after)].rstrip(" |").count("|"))
    rows = [line.split("|") for line in lines if not _RULE.match(line)]
    return [" ".join(cell.strip() for cell in row[left : right + 1]) for row in rows]


def _list_items(lines: Sequence[str], before: int) -> list[str]:
    """The items of the first line's depth; after a label when the span starts after one."""
    depth = _indent(lines[0])
    items = [_BULLET.sub("", line) for line in lines if _indent(line) == depth or not _BULLET.match(line)]
    label = _LABEL.search(lines[0][:before])
    return [item.split(label[1], 1)[-1] for item in items] if label else items


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
