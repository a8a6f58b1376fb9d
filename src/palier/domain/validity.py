"""From when and until when a document says that it holds.

Believes plain statements only: a word of validity ("valid", "in force", "applicable", "en vigueur", …) and, in the same
sentence, whole dates that hang on it, in English or French. "Open from 1 to 15 March 2026" is an event, not a validity,
"no longer valid from 1 March 2026" is neither start nor end, and "en vigueur au 1er mars 2026" is a start ("as of").
The price: what is said in other words, or with a date that lacks its year, is not seen; nothing is guessed.
"""

import re
from collections.abc import Iterator
from datetime import date

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan janvier janv",
            "february feb février fevrier févr fév",
            "march mar mars",
            "april apr avril avr",
            "may mai",
            "june jun juin",
            "july jul juillet juil",
            "august aug août aout",
            "september sept sep septembre",
            "october oct octobre",
            "november nov novembre",
            "december dec décembre decembre déc",
        ),
        1,
    )
    for name in names.split()
}
_MONTH = rf"(?:{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\.?"
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche)"
_YEAR = r"(?:19|20)\d\d"
_DAY = rf"(?:the\s+|le\s+)?(?:{_WEEKDAY},?\s+(?:the\s+|le\s+)?)?"
_DATE = (
    rf"{_DAY}(?:(?P<{{0}}iso>{_YEAR}-\d\d-\d\d)"
    rf"|(?P<{{0}}d>\d{{{{1,2}}}})(?:st|nd|rd|th|er)?\s+(?:of\s+)?(?P<{{0}}m>{_MONTH})(?:,?\s+(?P<{{0}}y>{_YEAR}))?"
    rf"|(?P<{{0}}m2>{_MONTH})\s+(?P<{{0}}d2>\d{{{{1,2}}}})(?:st|nd|rd|th)?(?:,?\s+(?P<{{0}}y2>{_YEAR}))?)(?!\w)"
)
_FROM = r"(?:from|since|as\s+(?:of|from)|starting|beginning|effective|depuis|dès|du|à\s+(?:partir|compter)\s+du)"
_UNTIL = r"(?:until|till|through|to|up\s+to|jusqu['’]\s*au)"
_DAYS_UNTIL = rf"(?:{_UNTIL}|du\s+(?:{_WEEKDAY}\s+)?\d{{1,2}}(?:er)?\s+au)"
"""The end of a range, also of one whose start is a day without its month: "du 1er au 31 mars 2026"."""
_NOT = r"(?<!\bnot )(?<!\bnot yet )(?<!\bno longer )(?<!\bplus )(?<!\bpas )(?<!\bpas encore )"
_VALID = (
    rf"{_NOT}(?:valid|effective|applicable|in\s+(?:force|effect)|valables?|valides?|en\s+vigueur|applicables?"
    r"|s['’]appliquent?)"
)
_RANGE = re.compile(
    rf"\b{_VALID}\b[^.;:!?|\n]{{0,80}}?\b(?:(?:{_FROM}\s+{_DATE.format('f')})"
    rf"(?:[\s,]+(?:and\s+|et\s+)?(?:{_UNTIL}|au)\s+{_DATE.format('u')})?|{_DAYS_UNTIL}\s+{_DATE.format('v')})",
    re.IGNORECASE,
)
_EFFECTIVE = re.compile(
    rf"\b(?:effective|(?:en\s+vigueur|applicables?|s['’]appliquent?)\s+au"
    rf"|(?:entr(?:e|ent|era|eront|ée?s?)\s+en\s+vigueur|pren(?:d|nent|dra|dront)\s+effet)(?:\s+au)?)"
    rf"\s+{_DATE.format('f')}",
    re.IGNORECASE,
)
_EXPIRES = re.compile(
    rf"\b(?:expires|expire(?:nt|ra|ront)?|expiry\s+date\s*:|date\s+d['’]expiration\s*:)\s+(?:on\s+)?"
    rf"{_DATE.format('v')}",
    re.IGNORECASE,
)
_WHOLE = re.compile(_DATE.format("f"), re.IGNORECASE)


def validity_of(text: str) -> tuple[str | None, str | None]:
    """First and last day of validity that ``text`` states, as ISO dates; None where it states none, or several."""
    starts: set[str] = set()
    ends: set[str] = set()
    for start, end in _statements(text):
        starts |= {start} - {""}
        ends |= {end} - {""}
    first, last = _only(starts), _only(ends)
    return (None, None) if first and last and first > last else (first, last)


def iso_date(value: object) -> str | None:
    """``value`` (of front matter: a date, or text such as "2 March 2026") as an ISO date; None when it is no date."""
    if isinstance(value, date):
        return value.isoformat()[:10]
    match = _WHOLE.fullmatch(str(value).strip())
    return (_iso(match, "f") or None) if match else None


def _statements(text: str) -> Iterator[tuple[str, str]]:
    for match in _RANGE.finditer(text):
        end = _iso(match, "u") or _iso(match, "v")
        yield _iso(match, "f", year=match["uy"] or match["uy2"] if end else None), end
    yield from ((_iso(match, "f"), "") for match in _EFFECTIVE.finditer(text))
    yield from (("", _iso(match, "v")) for match in _EXPIRES.finditer(text))


def _iso(match: re.Match[str], group: str, year: str | None = None) -> str:
    """The date of one group, empty when it is not there or not whole; ``year`` is that of the other end of a range."""
    parts = match.groupdict()
    try:
        if written := parts[f"{group}iso"]:
            return date.fromisoformat(written).isoformat()
        day, month = parts[f"{group}d"] or parts[f"{group}d2"], parts[f"{group}m"] or parts[f"{group}m2"]
        year = parts[f"{group}y"] or parts[f"{group}y2"] or year
        if not (day and month and year):
            return ""
        return date(int(year), _MONTHS[month.rstrip(".").casefold()], int(day)).isoformat()
    except ValueError:  # the 31st of February
        return ""


def _only(dates: set[str]) -> str | None:
    return dates.pop() if len(dates) == 1 else None
