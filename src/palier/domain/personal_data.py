"""Finds personal data by its form and takes it out of a text, before the text is kept anywhere.

Pure: text in, text out. Known by form: e-mail and IP addresses, telephone numbers (French, international, North
American, British), IBAN and payment cards (their checksums must hold), French social security numbers, postal addresses
as far as patterns go. What the team's own documents say (the restaurant's telephone) is public and stays: see `Public`.

The price: names have no form and are *not* found, nor is a person who is described ("my neighbour the baker"). An
address without a street word, or typed without capitals after an ambiguous one ("place", "cours"), is missed too; an
order number that looks like a telephone number is taken out.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["e-mail", "iban", "card", "social security number", "ip address", "phone", "address"]

_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?!\w)")
_CARD = re.compile(r"(?<![\d+])\d(?:[ -]?\d){12,18}(?!\d)")
_NIR = re.compile(
    r"(?<!\d)[1-478][\s.]?\d{2}[\s.]?(?:0[1-9]|1[0-2]|[2-9]\d)[\s.]?(?:\d{2}|2[ABab])[\s.]?\d{3}[\s.]?\d{3}"
    r"(?P<key>[\s./-]*\d{2})?(?!\d)"
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_PHONES = (
    re.compile(r"(?<![\w.,])(?:\+|00[\s.]?(?=[1-9]))\d{1,3}[\s.-]*(?:\(0\))?(?:[\s./()-]*\d){6,12}(?!\d)"),
    re.compile(r"(?<![\w+.,])0[\s.]?[1-9](?:[\s.-]?\d{2}){4}(?!\d)"),
    re.compile(r"(?<![\w+.,])0\d{2,4}[\s-]\d{3,4}[\s-]?\d{3,4}(?!\d)"),
    re.compile(r"(?<![\w+.,])(?:\(\d{3}\)\s?|\d{3}[\s.-])\d{3}[\s.-]\d{4}(?!\d)"),
)
_CAPITAL = r"[A-ZÀ-ÖØ-Þ][\w'’-]*"
_PARTICLE = r"(?:de la|de l['’]|de|du|des|d['’]|la|le|les|l['’]|et|en|sur|aux?|à)"
_NUMBER = r"(?<![\w.,])\d{1,4}(?:\s?(?:bis|ter|quater)\b|[A-Da-d]\b)?,?\s+"
_TOWN = rf"(?:,?\s+(?:F-)?\d{{5}}\s+{_CAPITAL}(?:[\s-]{_CAPITAL})*)?"
_ADDRESSES = (
    re.compile(
        rf"{_NUMBER}(?i:rue|avenue|av\.|boulevard|bd|blvd|chemin|all[ée]e|impasse|faubourg)\s+"
        rf"(?:(?i:{_PARTICLE})\s*)*[\w'’-]+(?:\s+(?:{_PARTICLE}\s*)*{_CAPITAL})*{_TOWN}"
    ),
    re.compile(
        rf"{_NUMBER}(?i:place|cours|passage|square|quai|route|villa|r[ée]sidence|esplanade)\s+"
        rf"(?:{_PARTICLE}\s*)*{_CAPITAL}(?:\s+(?:{_PARTICLE}\s*)*{_CAPITAL})*{_TOWN}"
    ),
    re.compile(
        rf"(?<![\w.,])\d{{1,5}}[A-Za-z]?,?\s+(?:{_CAPITAL}\s+){{1,4}}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|"
        r"Boulevard|Blvd|Court|Crescent|Terrace|Close|Way|Place|Square|Sq|Mews|Gardens|Grove|Row|Walk)\b"
    ),
    re.compile(r"(?<![\w.,])\d{1,5}\s+\w+\s+(?:street|avenue|road|lane|boulevard)\b"),
    re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]?\s\d[ABD-HJLNP-UW-Z]{2}\b"),  # a British postcode tells a street by itself
)
_PLACEHOLDER = re.compile(r"\[(?:e-mail|iban|card|social security number|ip address|phone|address)\]")


@dataclass(frozen=True, slots=True)
class Found:
    """Personal data at ``text[start:end]``; ``value`` is the same however it is spaced and capitalised."""

    kind: Kind
    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text with placeholders such as "[phone]", and the kinds that were taken out, one for each place."""

    text: str
    removed: tuple[Kind, ...]


class Public:
    """What looks like personal data in the documents themselves: everybody may read it, so it is no secret."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._values: dict[str, set[str]] = {}
        for text in texts:
            for found in find_personal_data(text):
                self._values.setdefault(found.kind, set()).add(found.value)

    def __contains__(self, found: Found) -> bool:
        """Addresses also when the documents say more of them (the town); all else must be the same."""
        known = self._values.get(found.kind, set())
        return found.value in known or (found.kind == "address" and any(found.value in value for value in known))


def redact(text: str, public: Public | None = None) -> Redacted:
    """``text`` with a placeholder for each piece of personal data that is not ``public``; nothing is left to find."""
    pieces: list[str] = []
    removed: list[Kind] = []
    at = 0
    for found in find_personal_data(text):
        if public is not None and found in public:
            continue
        pieces += [text[at : found.start], f"[{found.kind}]"]
        removed.append(found.kind)
        at = found.end
    if not removed:
        return Redacted(text, ())
    again = redact("".join([*pieces, text[at:]]), public)  # a placeholder may have bared what touched its neighbour
    return Redacted(again.text, (*removed, *again.removed))


def holds_placeholder(text: str) -> bool:
    """Whether something was taken out of ``text`` by `redact`."""
    return bool(_PLACEHOLDER.search(text))


def find_personal_data(text: str) -> list[Found]:
    """What was found, in order, without overlaps: where two kinds fit one place, the more certain one."""
    taken: list[Found] = []
    for kind, finder in _FINDERS:
        for start, end in finder(text):
            if all(end <= other.start or start >= other.end for other in taken):
                taken.append(Found(kind, start, end, re.sub(r"[\W_]+", "", text[start:end]).casefold()))
    return sorted(taken, key=lambda found: found.start)


def is_iban(value: str) -> bool:
    """ISO 13616: 15 to 34 letters and digits whose number is 1 modulo 97, the first four moved to the end."""
    bare = re.sub(r"[ -]", "", value).upper()
    if not 15 <= len(bare) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in bare[4:] + bare[:4])) % 97 == 1


def is_card_number(value: str) -> bool:
    """13 to 19 digits, not all the same, whose check digit is right (ISO/IEC 7812, Luhn)."""
    digits = [int(char) for char in value if char.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_social_security_number(value: str) -> bool:
    """The French NIR: 13 characters and the key 97 - (number modulo 97); Corsica's 2A and 2B count as 19 and 18."""
    bare = re.sub(r"[\W_]", "", value).upper()
    if len(bare) != 15:
        return False
    number = bare[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and int(bare[13:]) == 97 - int(number) % 97


Finder = Callable[[str], Iterator[tuple[int, int]]]


def _matching(*patterns: re.Pattern[str]) -> Finder:
    def find(text: str) -> Iterator[tuple[int, int]]:
        for pattern in patterns:
            for match in pattern.finditer(text):
                yield match.span()

    return find


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    """The longest beginning of a match, ending with a word, whose checksum holds: more words may follow it."""
    for match in _IBAN.finditer(text):
        whole = match[0]
        ends = [len(whole), *(gap.start() for gap in re.finditer(r"[ -]", whole))]
        best = max((end for end in ends if is_iban(whole[:end])), default=None)
        if best is not None:
            yield match.start(), match.start() + best


def _cards(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _CARD.finditer(text) if is_card_number(match[0]))


def _social_security_numbers(text: str) -> Iterator[tuple[int, int]]:
    """With a right key; without one only where it is written in groups, as on the card."""
    for match in _NIR.finditer(text):
        if is_social_security_number(match[0]) if match["key"] else len(re.findall(r"[\s.]", match[0])) >= 5:
            yield match.span()


def _ip_addresses(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            try:
                ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if any(char.isalnum() for char in match[0]):
                yield match.span()


_FINDERS: tuple[tuple[Kind, Finder], ...] = (
    ("e-mail", _matching(_EMAIL)),
    ("iban", _ibans),
    ("social security number", _social_security_numbers),
    ("card", _cards),
    ("ip address", _ip_addresses),
    ("phone", _matching(*_PHONES)),
    ("address", _matching(*_ADDRESSES)),
)
"""Kind by kind, those with a checksum before those that are a guess."""
