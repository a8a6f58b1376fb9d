"""How near an answer is to a right one, in words: exact match, token F1, the F1 of saying "no answer"; and repetition.

Knows strings only. Texts are compared much as SQuAD does (Rajpurkar et al. 2016, section 6.1: case, punctuation,
articles and white space aside), with French articles and elisions beside the English ones, and accents aside, since
people leave them out when they type. The price: two answers that differ in an accent alone are the same to us, and
figures are not quite those of SQuAD's own script, which drops a mark where we part words at it ("U.S." is "us" there
and two words here): an annotator's answers against the others' get F1 .657 here and .647 there on SQuAD 1.1, .393 and
.387 on Natural Questions, with the same exact matches on SQuAD.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from palier.domain.documents import Lang

_ARTICLES: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"\b(a|an|the)\b"),
    "fr": re.compile(r"\b(le|la|les|un|une|des|du|au|aux)\b|\b[ld]['’]"),
}
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}«»“”‘’…–—•·]")
_NUMBER_MARK = re.compile(r"(?<=\d)[.,](?=\d)")


def normal(text: str, lang: Lang) -> str:
    """``text`` in lower case without accents, articles, punctuation and surplus white space.

    A decimal point or comma inside a number becomes a point that stays: 12.90 is neither 1290 nor 12 90.
    """
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()
    bare = _ARTICLES[lang].sub(" ", bare)
    kept = _NUMBER_MARK.sub("\0", bare)
    return " ".join(_PUNCTUATION.sub(" ", kept).replace("\0", ".").split())


def exact_match(answer: str, reference: str, lang: Lang) -> float:
    """1.0 when both are the same after `normal`, else 0.0."""
    return float(normal(answer, lang) == normal(reference, lang))


def token_f1(answer: str, reference: str, lang: Lang) -> float:
    """Harmonic mean of precision and recall over words, each counted as often as it occurs; 0..1.

    When either side has no words left, 1.0 if both have none, else 0.0.
    """
    said, wanted = _words(answer, lang), _words(reference, lang)
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


@lru_cache(maxsize=1024)
def _words(text: str, lang: Lang) -> tuple[str, ...]:
    """The words of ``normal``; kept for a while, since an answer is compared with each answer to the same question."""
    return tuple(normal(text, lang).split())


def best_f1(answer: str, references: Sequence[str], lang: Lang) -> float:
    """The highest token F1 over the acceptable answers; ValueError when there are none."""
    return _best(token_f1, answer, references, lang)


def best_exact_match(answer: str, references: Sequence[str], lang: Lang) -> float:
    """1.0 when the answer matches one of the acceptable ones; ValueError when there are none."""
    return _best(exact_match, answer, references, lang)


def no_answer_f1(abstained: Sequence[bool], unanswerable: Sequence[bool]) -> float:
    """F1 of the class "no answer": how well abstentions and unanswerable questions agree; 0..1.

    1.0 when there was nothing to abstain from and nothing was abstained from. Lengths must agree.
    """
    pairs = list(zip(abstained, unanswerable, strict=True))
    hits = sum(said and right for said, right in pairs)
    named = sum(abstained) + sum(unanswerable)
    return 2 * hits / named if named else 1.0


def repetition_rate(text: str, n: int = 3) -> float:
    """The share of n-grams of words that were said before in the same text; 0..1, and 0.0 below ``n`` words.

    As seq-rep-n of Welleck et al. 2020 (Neural text generation with unlikelihood training, section 5), over words.
    """
    words = text.casefold().split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def _best(measure: Callable[[str, str, Lang], float], answer: str, references: Sequence[str], lang: Lang) -> float:
    if not references:
        raise ValueError("No reference answer to compare with: leave unanswerable questions out.")
    return max(measure(answer, reference, lang) for reference in references)
