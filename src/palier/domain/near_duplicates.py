"""Marks passages that say nearly the same as an earlier one, and keeps them from crowding an answer.

Likeness is the Jaccard index of the sets of three-word runs, and the figures of both must be the same: two price lists
that differ in one price are two facts. Exact and without chance: prefix filtering (Bayardo, Ma, Srikant 2007,
"Scaling up all pairs similarity search", section 4) instead of MinHash, since two sets that are alike share at least
one of their rarest elements. Title and headings do not count: the same words about another shop are marked too, which
is why such a passage is marked, not dropped, and which one of a group is shown is decided by the question. The price: a
passage is compared with originals only, so a chain of small changes begins a new original where it has drifted too far
from the first; and whoever asks about two shops at once is told their common words once.
"""

import math
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from palier.domain.answering import Hit
from palier.domain.documents import Passage

THRESHOLD = 0.9
_RUN = 3
_WORD = re.compile(r"\w+")
_FIGURE = re.compile(r"\d+")


def mark_near_duplicates(passages: Sequence[Passage], threshold: float = THRESHOLD) -> list[Passage]:
    """The same passages in order, ``duplicate_of`` set where an earlier one of that language is nearly the same.

    ``threshold`` is the least Jaccard index, above 0 to 1. What a passage points to is never marked itself.
    """
    seen: dict[tuple[int, int], list[int]] = {}
    prints = _fingerprints(passages, threshold)
    marked = []
    for i, passage in enumerate(passages):
        first = _first_like(i, prints, seen, threshold)
        if first is None:
            for key in prints[i].keys:
                seen.setdefault(key, []).append(i)
        marked.append(passage if first is None else replace(passage, duplicate_of=passages[first].passage_id))
    return marked


def best_of_each(hits: Sequence[Hit]) -> list[Hit]:
    """``hits``, best first, with only the best of those that are marked as nearly the same; it names the others."""
    best: dict[str, Hit] = {}
    for hit in hits:
        key = hit.passage.duplicate_of or hit.passage.passage_id
        first = best.get(key)
        others = (*first.near_duplicates, hit.passage.passage_id) if first else ()
        best[key] = replace(first, near_duplicates=others) if first else hit
    return list(best.values())


@dataclass(frozen=True, slots=True)
class _Fingerprint:
    """A passage as the set of its runs, rarest first; only passages of one ``group`` can be near-duplicates."""

    group: int
    runs: NDArray[np.uint64]
    n_prefix: int
    """So many of the first runs, of which any set that is alike has at least one among its own."""

    @property
    def keys(self) -> list[tuple[int, int]]:
        return [(self.group, run) for run in self.runs[: self.n_prefix].tolist()]


def _first_like(
    i: int, prints: Sequence[_Fingerprint], seen: Mapping[tuple[int, int], Sequence[int]], threshold: float
) -> int | None:
    candidates = {j for key in prints[i].keys for j in seen.get(key, ())}
    return next((j for j in sorted(candidates) if _likeness(prints[i].runs, prints[j].runs) >= threshold), None)


def _likeness(ours: NDArray[np.uint64], theirs: NDArray[np.uint64]) -> float:
    n_shared = len(set(ours.tolist()) & set(theirs.tolist()))
    return n_shared / (len(ours) + len(theirs) - n_shared)


def _fingerprints(passages: Sequence[Passage], threshold: float) -> list[_Fingerprint]:
    sets = _run_sets([passage.text for passage in passages])
    values, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *sets]), return_counts=True)
    groups: dict[tuple[str, ...], int] = {}
    prints = []
    for passage, runs in zip(passages, sets, strict=True):
        group = groups.setdefault((passage.lang, *sorted(_FIGURE.findall(passage.text))), len(groups))
        rarity = counts[np.searchsorted(values, runs)]
        n_prefix = len(runs) - math.ceil(threshold * len(runs) - 1e-9) + 1
        prints.append(_Fingerprint(group, runs[np.lexsort((runs, rarity))], n_prefix))
    return prints


def _run_sets(texts: Sequence[str]) -> list[NDArray[np.uint64]]:
    """The distinct runs of three words of each text, as hashes; of a shorter text, all its words as one run."""
    hashes: dict[str, int] = {}
    sets = []
    for text in texts:
        words = array("Q", [hashes.get(word) or _hash(word, hashes) for word in _WORD.findall(text.casefold())])
        numbers = np.frombuffer(words, dtype=np.uint64) if words else np.zeros(1, np.uint64)
        n_runs = max(1, len(numbers) - _RUN + 1)
        runs = np.zeros(n_runs, np.uint64)
        for at in range(min(_RUN, len(numbers))):
            runs = runs * np.uint64(0x9E3779B97F4A7C15) + numbers[at : at + n_runs]
        sets.append(np.unique(runs))
    return sets


def _hash(word: str, known: dict[str, int]) -> int:
    """Stable between processes, unlike ``hash``; never 0, so that ``get`` tells it from a word not seen."""
    known[word] = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little") or 1
    return known[word]
