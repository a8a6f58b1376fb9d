"""Kinds of questions, and how much better or worse one kind is answered than the others.

Pure: questions in, names of slices out; numbers in, differences with intervals out. Both languages are told in the same
words, so that they can stand side by side. The price: the kind of a question is read off its first words alone, and of
many slices one will look bad by chance (each interval is for its own slice, not for the family).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palier.domain.bootstrap import Interval, mean_interval
from palier.domain.documents import Lang

_LEADING: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"(?:and|so|but|in|on|at|by|to|for|from|with|of|about|until|since|after|before|during)\s+"),
    "fr": re.compile(r"(?:et|mais|à|a|au|aux|de|du|des|en|dans|par|pour|avec|sur|chez|depuis|jusqu['’]à)\s+|d['’]"),
}
_KINDS: dict[Lang, tuple[tuple[str, re.Pattern[str]], ...]] = {
    "en": (
        ("how many", re.compile(r"how (?:much|many|long|far|old|often|big|large|high|tall)\b")),
        ("when", re.compile(r"when\b|what (?:time|year|date|day|month)\b|which (?:year|date|day|month)\b")),
        ("how", re.compile(r"how\b")),
        ("who", re.compile(r"who(?:m|se)?\b")),
        ("where", re.compile(r"where\b")),
        ("why", re.compile(r"why\b")),
        ("which", re.compile(r"which\b")),
        ("what", re.compile(r"what\b")),
        ("yes or no", re.compile(r"(?:do|does|did|is|are|was|were|can|could|may|will|would|should|has|have|had|am)\b")),
    ),
    "fr": (
        ("how many", re.compile(r"combien\b")),
        ("when", re.compile(r"quand\b|quelles? (?:heures?|dates?|années?)\b|quel (?:jour|mois|an)\b")),
        ("how", re.compile(r"comment\b")),
        ("who", re.compile(r"qui\b")),
        ("where", re.compile(r"o[uù]\b")),
        ("why", re.compile(r"pourquoi\b")),
        (
            "yes or no",
            re.compile(r"est[- ]ce que\b|est[- ]ce qu['’]|(?:y )?(?:est|sont|peut|puis|ai|as|a|avez|faut|va|doit)-"),
        ),
        ("which", re.compile(r"(?:quel|lequel|laquelle|lesquel)\w*\b")),
        ("what", re.compile(r"que\b|qu['’]|quoi\b")),
    ),
}
_LENGTHS = ((6, "up to 6 words"), (10, "7 to 10 words"), (15, "11 to 15 words"))
_LONGEST = "over 15 words"


def question_kind(text: str, lang: Lang) -> str:
    """What ``text`` asks for by its first words ("when", "how many", …), in English for both languages; else "other".

    A conjunction or preposition in front is passed over: "à quelle heure" asks when.
    """
    said = text.casefold().strip(" ¿«\"'")
    for _ in range(2):
        for kind, pattern in _KINDS[lang]:
            if pattern.match(said):
                return kind
        said = _LEADING[lang].sub("", said, count=1) if _LEADING[lang].match(said) else said
    return "other"


def question_length(text: str) -> str:
    """The bucket of ``text`` by its words."""
    n = len(text.split())
    return next((name for most, name in _LENGTHS if n <= most), _LONGEST)


def _place(name: str) -> tuple[int, str]:
    lengths = [*(told for _, told in _LENGTHS), _LONGEST]
    return (lengths.index(name) if name in lengths else len(lengths), name)


@dataclass(frozen=True, slots=True)
class SliceGap:
    """One slice: its mean, and how far it lies above (or, negative, below) all other rows."""

    name: str
    mean: Interval
    gap: Interval | None
    """None where there is no other row."""


def slice_gaps(
    values: Sequence[float] | NDArray[np.floating],
    names: Sequence[str],
    rng: np.random.Generator,
    *,
    min_rows: int,
    samples: int = 1000,
) -> list[SliceGap]:
    """Each slice of at least ``min_rows`` rows, with 95 % bootstrap intervals: lengths from short to long, others by
    name."""
    data, labels = np.asarray(values, dtype=np.float64), np.asarray(names)
    found = []
    for name in sorted(set(names), key=_place):
        inside = data[labels == name]
        if len(inside) < min_rows:
            continue
        outside = data[labels != name]
        gap = difference_interval(inside, outside, rng, samples) if len(outside) else None
        found.append(SliceGap(name, mean_interval(inside, rng, samples), gap))
    return found


def difference_interval(
    one: NDArray[np.float64], other: NDArray[np.float64], rng: np.random.Generator, samples: int = 1000
) -> Interval:
    """Mean of ``one`` minus mean of ``other``, two sets of different rows, each resampled by itself; ``n`` is of both.

    Raises ValueError when one of them is empty.
    """
    if not len(one) or not len(other):
        raise ValueError("No values on one side: nothing to compare.")
    drawn = [part[rng.integers(0, len(part), (samples, len(part)))].mean(axis=1) for part in (one, other)]
    low, high = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
    return Interval(float(one.mean() - other.mean()), float(low), float(high), len(one) + len(other))
