"""What can be seen in a question and its answers without knowing the task: numbers for the scorers.

Nothing here knows of multiple choice, of these models or of these data sets: lengths, hedging, digits, how
much of the answer stands in the question, whether what was worked out leads to what is said at the end, and
whether two answers end in the same thing. The final answer is
what follows the last "answer is", "####" or box, or else the last line; two final answers agree when they are
the same number, the same words, or one begins with the other. Price paid: agreement in substance but not in
words is missed.
"""

import math
import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from palier.domain.beliefs.chances import Floats

_FINAL = re.compile(
    r"(?:final answer|answer|réponse)(?: (?:is|est))?\s*[:=]?\s*(?P<said>[^\n]+)|####\s*(?P<hash>[^\n]+)"
    r"|\\boxed\{(?P<box>[^}]*)\}",
    re.IGNORECASE,
)
_HEDGES = re.compile(
    r"\b(?:perhaps|maybe|might|unclear|not sure|cannot|can't|unable|assum\w+|likely|probably|approximately|"
    r"however|none of|not (?:given|provided|possible|enough)|closest|peut-être|environ|probablement)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"\w+")
_ARTICLES = frozenset({"the", "a", "an", "option", "le", "la", "les", "un", "une"})
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_CLOSING = frozenset(".!?)]}$*0123456789")
_PLAIN_NUMBER = re.compile(r"\d[\d,]{0,14}(?:\.\d+)?")
_REFUSAL = re.compile(
    r"\b(?:i cannot|i can't|unable to|does not (?:contain|provide)|not enough information|je ne (?:peux|sais))\b",
    re.IGNORECASE,
)
TAIL_CHARACTERS, MOST_LINES = 300, 40
LONGEST_FINAL = 160
"""Characters that may still be a final answer."""
QUERY_WORDS, ANSWER_WORDS = 2**16, 2**15
"""Places for the hashed words and pairs of words of questions, and of answers."""
LAST_CHARACTERS = 1500
_LONG_WORD = re.compile(r"\w\w+")


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """The end of an answer: its tokens, and its number where it is one."""

    tokens: tuple[str, ...]
    number: float | None


def told_finals(answer: str) -> list[str]:
    """What follows each "answer is", "####" or box, in order."""
    return [part for found in _FINAL.findall(answer) for part in found if _WORD.search(part)]


def final_answer(answer: str) -> FinalAnswer:
    """What the answer comes down to; no tokens when it breaks off before it is told."""
    told = told_finals(answer)
    if told:
        return _final(told[-1], which=0)
    closed = answer.rstrip()
    if not closed or closed[-1] not in _CLOSING:
        return FinalAnswer((), None)
    return _final(_SENTENCE.split(closed)[-1], which=-1)


def _final(said: str, *, which: int) -> FinalAnswer:
    """Tokens and the first or last number of what was said."""
    plain = unicodedata.normalize("NFKC", said[:LONGEST_FINAL]).casefold().replace(",", "")
    words = re.findall(r"\d+(?:\.\d+)?|\w+", plain)
    numbers = re.findall(r"-?\d+(?:\.\d+)?", plain)
    tokens = tuple(word for word in words if word not in _ARTICLES) or tuple(words)
    return FinalAnswer(tokens, float(numbers[which]) if numbers else None)


def agree(one: FinalAnswer, other: FinalAnswer) -> bool:
    """Do two final answers say the same? Never true where either says nothing."""
    if not one.tokens or not other.tokens:
        return False
    if one.number is not None and other.number is not None:
        return math.isclose(one.number, other.number, rel_tol=1e-6)
    short, long = sorted((one.tokens, other.tokens), key=len)
    return long[: len(short)] == short


def answer_features(query: str, answer: str) -> list[float]:
    """Numbers of one answer to one question; zeros throughout for an empty answer."""
    if not answer.strip():
        return [0.0] * N_ANSWER_FEATURES
    words, lines = _WORD.findall(answer.casefold()), answer.splitlines()
    numbers, asked = _NUMBER.findall(answer), set(_NUMBER.findall(query))
    query_words, final = set(_WORD.findall(query.casefold())), final_answer(answer)
    content, n_words = [word for word in words if len(word) > 3], max(1, len(words))
    before = [number for number in numbers if number not in final.tokens]
    return [
        math.log1p(len(answer)),
        math.log1p(len(lines)),
        math.log1p(len(numbers)),
        sum(number in asked for number in numbers) / max(1, len(numbers)),
        float(bool(before) and before[-1] in asked),
        float(bool(numbers) and numbers[-1] in asked),
        sum(word in query_words for word in content) / max(1, len(content)),
        len(set(words)) / n_words,
        len(zlib.compress(answer.encode())) / len(answer.encode()),
        min(5.0, float(len(_HEDGES.findall(answer)))),
        math.log1p(answer.count("=")),
        math.log1p(answer.count("\\")),
        math.log1p(len(final.tokens)),
        sum(token in query_words for token in final.tokens) / max(1, len(final.tokens)),
        float(final.number is not None),
        float(answer.rstrip()[-1] in ".!?)}]*0123456789"),
        float("step" in words or "first" in words),
        answer.count("?") / n_words,
        sum(char.isupper() for char in answer) / len(answer),
        _tail_overlap(answer, query_words),
        *_ending_features(query, answer, final),
    ]


N_ANSWER_FEATURES = 29


def query_features(query: str) -> list[float]:
    """Numbers of one question."""
    words = _WORD.findall(query)
    return [
        math.log1p(len(query)),
        math.log1p(len(query.splitlines())),
        math.log1p(len(_NUMBER.findall(query))),
        sum(char.isdigit() for char in query) / max(1, len(query)),
        math.log1p(query.count("\\") + query.count("$")),
        math.log1p(query.count("_")),
        float(" not " in query.casefold() or "except" in query.casefold()),
        sum(map(len, words)) / max(1, len(words)),
    ]


def word_counts(texts: Iterable[str], n_places: int) -> csr_matrix:
    """(n, n_places): which words and pairs of words stand in the end of each text, hashed: nothing is fitted."""
    known: dict[str, bytes] = {}
    rows, places = [0], []
    for text in texts:
        words = [
            known.setdefault(word, word.encode("utf-8"))
            for word in _LONG_WORD.findall(text[-LAST_CHARACTERS:].casefold())
        ]
        alone = [zlib.crc32(word) for word in words]
        pairs = [zlib.crc32(b" " + word, before) for before, word in zip(alone, words[1:], strict=False)]
        found = np.unique(np.array(alone + pairs, dtype=np.int64) % n_places)
        places.append(found)
        rows.append(rows[-1] + len(found))
    columns = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
    return csr_matrix((np.ones(len(columns)), columns, rows), shape=(len(places), n_places))


def agreement_matrix(finals: Sequence[Sequence[FinalAnswer]]) -> Floats:
    """(n, M, M) from the final answers of M models to n questions: 1 where two agree, 0.5 where one says nothing."""
    n, n_models = len(finals), len(finals[0])
    same = np.full((n, n_models, n_models), 0.5)
    for row, said in enumerate(finals):
        for i in range(n_models):
            for j in range(i):
                if said[i].tokens and said[j].tokens:
                    same[row, i, j] = same[row, j, i] = float(agree(said[i], said[j]))
    same[:, range(n_models), range(n_models)] = 1.0
    return same


def _tail_overlap(answer: str, query_words: set[str]) -> float:
    """How much of what comes just before the end stands in the question: a result found among what was given."""
    tail = _WORD.findall(answer[-220:].casefold())
    return sum(word in query_words for word in tail) / max(1, len(tail))


def _ending_features(query: str, answer: str, final: FinalAnswer) -> list[float]:
    """Nine numbers on how the answer comes to its end: from where, through what, and how near to what was given."""
    told = told_finals(answer)
    at = answer.rfind(told[-1]) if told else len(answer)
    working, after = answer[:at], answer[at:]
    nearest, next_nearest = _distances(_numbers(working), _numbers(query))
    first, second = _best_lines(working, query)
    return [
        at / len(answer),
        math.log1p(len(after)),
        float(len({_final(one, which=0).tokens for one in told})),
        math.log1p(sum(working.casefold().count(token) for token in final.tokens)) if len(final.tokens) < 4 else 0.0,
        nearest,
        next_nearest - nearest,
        first,
        first - second,
        float(bool(_REFUSAL.search(answer))),
    ]


def _numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in _PLAIN_NUMBER.findall(text)]


def _distances(worked: Sequence[float], given: Sequence[float]) -> tuple[float, float]:
    """How far the last number worked out is from the two numbers in the question that are nearest; 0..1, relative."""
    if not worked or not given:
        return 1.0, 1.0
    last = worked[-1]
    apart = sorted({min(1.0, abs(last - one) / max(abs(last), abs(one), 1e-9)) for one in given})
    return apart[0], apart[1] if len(apart) > 1 else 1.0


def _best_lines(working: str, query: str) -> tuple[float, float]:
    """How much of the question's best-matching line stands in the end of the working, and of the second-best."""
    tail = set(_WORD.findall(working[-TAIL_CHARACTERS:].casefold()))
    lines = [set(_WORD.findall(line)) for line in query.casefold().splitlines()[-MOST_LINES:]]
    shares = sorted((len(line & tail) / len(line) for line in lines if line), reverse=True)
    return (shares[0] if shares else 0.0, shares[1] if len(shares) > 1 else 0.0)
