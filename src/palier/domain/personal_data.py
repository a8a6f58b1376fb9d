"""Finds personal data by its form and takes it out of a text, before the text is kept anywhere.

Pure: text in, text out. Known by form: e-mail and IP addresses, telephone numbers (French, international, North
American, British), IBAN and payment cards (their checksums must hold), French social security numbers, postal addresses
as far as patterns go. What the team's own documents say (the restaurant's telephone) is public and stays: see `Public`.

Texts come from strangers, so no pattern may take more than about linear time: what repeats can be read in one way only,
is bounded, or is never given back (``*+``).

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

_EMAIL = re.compile(r"[\w.+%-]{1,64}+@[\w-]++(?:\.[\w-]++)++")  # 64: RFC 5321, 4.5.3.1.1
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?!\w)")
_CARD = re.compile(r"(?<![\d+])\d(?:[ -]?\d){12,18}(?!\d)")
_NIR = re.compile(
    r"(?<!\d)[1-478][\s.]?\d{2}[\s.]?(?:0[1-9]|1[0-2]|[2-9]\d)[\s.]?(?:\d{2}|2[ABab])[\s.]?\d{3}[\s.]?\d{3}"
    r"(?P<key>[\s./-]*\d{2})?(?!\d)"
)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_VERSION = re.compile(r"\d(?:\.\d){3}")  # or a chapter; such addresses are public resolvers', nobody's own
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_ALONE = r"(?<![\w+])(?<!\d[.,])"  # not inside a word or a number; "tel.06..." is neither
_NO_DATE = r"(?!\d{2}[\s./-]\d{2}[\s./-](?:19|20)\d{2}(?!\d))"  # "06.12.2024 18:30"
_PHONES = (  # what begins with + or ( needs nothing before it
    re.compile(rf"(?:\+|{_ALONE}00[\s.]?(?=[1-9]))\d{{1,3}}(?:[\s.-]*+\(0\))?(?:[\s./()-]*+\d){{6,12}}(?!\d)"),
    re.compile(rf"{_ALONE}{_NO_DATE}0[\s.]?[1-9](?:(?:[\s.-]?\d{{2}}){{4}}|(?:\s?/\s?\d{{2}}){{4}})(?!\d)"),
    re.compile(rf"{_ALONE}0[1-35789]\d{{9}}(?!\d)"),  # British: no number begins with 04 or 06
    re.compile(rf"(?:\(0\d{{2,4}}\)[\s-]?|{_ALONE}0\d{{2,4}}[\s-])\d{{3,4}}[\s-]?\d{{3,4}}(?!\d)"),
    re.compile(rf"(?:\(\d{{3}}\)\s?|{_ALONE}\d{{3}}[\s.-])\d{{3}}[\s.-]\d{{4}}(?!\d)"),
)
_CAPITAL = r"[A-ZÀ-ÖØ-Þ][\w'’-]*"
_PARTICLE = r"(?:(?:de|du|des|la|le|les|et|en|sur|aux?|à)\s+|[dl]['’]\s*)"
_NAME = rf"{_PARTICLE}*+{_CAPITAL}"
_NUMBER = r"(?<![\w.,])\d{1,4}(?:\s?(?:bis|ter|quater)\b|[A-Da-d]\b)?,?\s+"
_TOWN = rf"(?:,?\s+(?:F-)?\d{{5}}\s+{_CAPITAL}(?:[\s-]{_CAPITAL})*)?"
_ADDRESSES = (
    re.compile(
        rf"{_NUMBER}(?i:rue|avenue|av\.|boulevard|bd|blvd|chemin|all[ée]e|impasse|faubourg)\s+"
        rf"(?i:{_PARTICLE})*[\w'’-]+(?:\s+{_NAME})*+{_TOWN}"
    ),
    re.compile(
        rf"{_NUMBER}(?i:place|cours|passage|square|quai|route|villa|r[ée]sidence|esplanade)\s+"
        rf"{_NAME}(?:\s+{_NAME})*+{_TOWN}"
    ),
    re.compile(
        rf"(?<![\w.,])\d{{1,5}}[A-Za-z]?,?\s+(?:{_CAPITAL}\s+){{1,4}}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|"
        r"Boulevard|Blvd|Court|Crescent|Terrace|Close|Way|Place|Square|Sq|Mews|Gardens|Grove|Row|Walk)\b"
    ),
    re.compile(r"(?<![\w.,])\d{1,5}\s+\w+\s+(?:street|avenue|road|lane|boulevard)\b"),
    re.compile(  # a British postcode tells a street by itself
        r"\b(?:[A-Z]{1,2}\d[A-Z\d]?\s|[A-PR-UWYZ][A-HK-Y]?\d[A-HJKMNPR-Y\d]?)\d[ABD-HJLNP-UW-Z]{2}\b"
    ),
)
_BLANK = "\0"  # of no pattern, as the brackets of a placeholder
_AS_TYPED = str.maketrans(  # one character for one, so that places stay: what word processors and web pages put there
    {
        **dict.fromkeys(
            "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
        ),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
        **{wide: chr(ord(wide) - 0xFEE0) for wide in map(chr, range(0xFF01, 0xFF5F))},
    }
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
        """Addresses also when the documents say more of them (the town); all else must be the same.

        More behind them: the team's "12 rue de Paris" does not make a stranger's "2 rue de Paris" public.
        """
        known = self._values.get(found.kind, set())
        is_address = found.kind == "address"
        return found.value in known or (is_address and any(value.startswith(found.value) for value in known))


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
    return Redacted("".join([*pieces, text[at:]]), tuple(removed))


def holds_placeholder(text: str) -> bool:
    """Whether something was taken out of ``text`` by `redact`."""
    return bool(_PLACEHOLDER.search(text))


def find_personal_data(text: str) -> list[Found]:
    """What was found, in order, without overlaps: where two kinds fit one place, the more certain one.

    What touches a find is looked at once more without it, as it will stand beside a placeholder.
    """
    found: list[Found] = []
    typed = left = text.translate(_AS_TYPED)
    before = ""
    while left != before:
        before = left
        for kind, finder in _FINDERS:
            spans = list(finder(left))
            found += [Found(kind, start, end, _bare(typed[start:end])) for start, end in spans]
            left = _blanked(left, spans)
    return sorted(found, key=lambda one: one.start)


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


def _matching(pattern: re.Pattern[str], is_valid: Callable[[str], bool] = bool) -> Finder:
    return lambda text: (match.span() for match in pattern.finditer(text) if is_valid(match[0]))


def _beginning(pattern: re.Pattern[str], is_valid: Callable[[str], bool]) -> Finder:
    """The longest valid beginning of a match, ending with a word: more words may follow it, or another such number."""

    def finder(text: str) -> Iterator[tuple[int, int]]:
        at = 0
        while match := pattern.search(text, at):
            whole, start = match[0], match.start()
            ends = [len(whole), *(gap.start() for gap in re.finditer(r"[ -]", whole))]
            best = max((end for end in ends if is_valid(whole[:end])), default=None)
            if best is not None:
                yield start, start + best
            at = match.end() if best is None else start + best

    return finder


def _social_security_numbers(text: str) -> Iterator[tuple[int, int]]:
    """With a right key; without one only where it is written in groups, as on the card."""
    for match in _NIR.finditer(text):
        if is_social_security_number(match[0]) if match["key"] else len(re.findall(r"[\s.]", match[0])) >= 5:
            yield match.span()


def _is_payment_card(value: str) -> bool:
    """As most are: 15 or 16 digits, the first 2 to 6; an expiry date may stand behind them."""
    return value[0] in "23456" and sum(map(str.isdigit, value)) in (15, 16) and is_card_number(value)


def _is_ip_address(value: str) -> bool:
    if _VERSION.fullmatch(value):
        return False
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return any(char.isalnum() for char in value)  # "::" is one, and says nothing


def _bare(value: str) -> str:
    return re.sub(r"[\W_]+", "", value).casefold()


def _blanked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    chars = list(text)
    for start, end in spans:
        chars[start:end] = _BLANK * (end - start)
    return "".join(chars)


_FINDERS: tuple[tuple[Kind, Finder], ...] = (
    ("e-mail", _matching(_EMAIL)),
    ("iban", _beginning(_IBAN, is_iban)),
    ("social security number", _social_security_numbers),
    ("card", _matching(_CARD, is_card_number)),
    ("card", _beginning(_CARD, _is_payment_card)),
    ("ip address", _matching(_IPV4, _is_ip_address)),
    ("ip address", _matching(_IPV6, _is_ip_address)),
    *(("phone", _matching(pattern)) for pattern in _PHONES),
    *(("address", _matching(pattern)) for pattern in _ADDRESSES),
)
"""Pattern by pattern, those with a checksum before those that are a guess."""
