"""What the writer is given to read: the few sentences around the places where an answer may stand, the question, and
what a reader would say.

Training and serving both come through here, so that the writer is asked in the very words that it learnt from. Knows
strings and places in them; nothing of models, and of tokens only how many they may be. The instruction comes first and
is the same for every question of a language: llama.cpp keeps what it has read of a prompt as long as the beginning
stays. The price of cutting by words: French has more tokens a word, so the same number of words costs a French prompt a
third more.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from palier.domain.documents import Lang
from palier.domain.prompting import said_of
from palier.domain.spans import ITEMS, occurrences, plain_answer

INSTRUCTIONS: dict[Lang, str] = {
    "en": "Short answer from the text, cited, or: I don't know.",
    "fr": "Réponse courte tirée du texte, citée, ou : Je ne sais pas.",
}
_ASKED: dict[Lang, str] = {"en": "Question:", "fr": "Question :"}
_SUGGESTED: dict[Lang, str] = {"en": "Perhaps:", "fr": "Peut-être :"}
EVIDENCE_TOKENS = 300
"""Of evidence and suggestions together, as `about_tokens` counts them."""
QUESTION_BYTES = 1000
"""A token is a byte at least: whatever is pasted into a question, evidence and answer still fit beside it."""
SHRINK = 0.8
SUGGESTED_TOKENS = 40
"""A reading that is longer (a whole table) is pointed to, and not said."""
_SENTENCE_END = re.compile(r"[.!?…]['\"»”)*_]*[ \t]+(?=[\"'«“(*_]*\w)|[ \t]*\n\s*")
_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\d|[^\w\s]|[^\W\d]{1,3}")
_FOREIGN = re.compile(r"[\u0250-\u1fff\u2c00-\U0010ffff]")
"""Letters of other scripts than Latin, and emoji: the tokenizer may know no more of them than their bytes."""


@dataclass(frozen=True, slots=True)
class Pointed:
    """Where an answer may stand: characters ``start`` to ``end`` of the content of passage ``passage_index``, and what
    would be said of them (``text``; none where a whole sentence is pointed to).
    """

    passage_index: int
    start: int
    end: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Sentences of one passage, in its order and its words (white space aside)."""

    passage_index: int
    text: str


def fitting_evidence(
    contents: Sequence[str], pointed: Sequence[Pointed], max_words: int
) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
    """Evidence of at most ``max_words`` words and what is suggested, together at most EVIDENCE_TOKENS tokens.

    Of text that is dear in tokens (numbers, tables) fewer words are taken; where one word is too many (a long path, a
    script without spaces), the characters around the place that is pointed to first.
    """
    cuts = ((evidence, suggestions(pointed, evidence)) for evidence in _ever_smaller(contents, pointed, max_words))
    return next(cut for cut in cuts if _n_tokens(*cut) <= EVIDENCE_TOKENS)


def _n_tokens(evidence: Sequence[Evidence], suggested: Sequence[str]) -> int:
    return sum(map(about_tokens, [*(piece.text for piece in evidence), *suggested]))


def _ever_smaller(
    contents: Sequence[str], pointed: Sequence[Pointed], max_words: int
) -> Iterator[tuple[Evidence, ...]]:
    while max_words > 0:
        yield cut_evidence(contents, pointed, max_words)
        max_words = int(max_words * SHRINK)
    n_chars = EVIDENCE_TOKENS
    while n_chars > 0:
        yield (_characters_around(contents, pointed[0], n_chars),)
        n_chars = int(n_chars * SHRINK)


def _characters_around(contents: Sequence[str], place: Pointed, n_chars: int) -> Evidence:
    """``n_chars`` characters with ``place`` in their middle, or its beginning where it is longer than that."""
    start = max(0, place.start - max(0, n_chars - (place.end - place.start)) // 2)
    return Evidence(place.passage_index, " ".join(contents[place.passage_index][start : start + n_chars].split()))


def cut_evidence(contents: Sequence[str], pointed: Sequence[Pointed], max_words: int) -> tuple[Evidence, ...]:
    """The sentences that hold ``pointed`` (best first), then those around them, of at most ``max_words`` words.

    After the places themselves come the first lines of their passages, which say what they are about, then neighbours,
    near ones first, until the next one would not fit. A first sentence that is too long is cut around its place.
    Passages come in their own order; empty when nothing is pointed to.
    """
    pieces = {place.passage_index: sentences(contents[place.passage_index]) for place in pointed}
    taken: dict[tuple[int, int], str] = {}
    room = max_words
    for index, number, place in _by_nearness(pieces, pointed):
        start, end = pieces[index][number]
        text = contents[index][start:end]
        if not taken:
            text = _around(text, place.start - start, max_words)
        room -= len(text.split())
        if room < 0:
            break
        taken[index, number] = " ".join(text.split())
    found = sorted({index for index, _ in taken})
    return tuple(Evidence(index, _joined(contents[index], pieces[index], taken, index)) for index in found)


def suggestions(pointed: Sequence[Pointed], evidence: Sequence[Evidence]) -> tuple[str, ...]:
    """What is said of the places in ``pointed`` (best first), each with the mark of the ``evidence`` that holds it, as
    in "at noon [2]". What is long to say, or not said in the evidence (its sentence was cut away), is no suggestion.
    """
    said = [
        f"{answer} [{number}]"
        for place in pointed
        for number, piece in enumerate(evidence, start=1)
        if piece.passage_index == place.passage_index
        and _is_worth_saying(answer := plain_answer(said_of(place.text)), piece.text)
    ]
    return tuple(dict.fromkeys(said))


def _is_worth_saying(text: str, evidence: str) -> bool:
    """Whether ``text`` is short, and each part of it (items of a list are joined) stands in ``evidence``."""
    is_short = 0 < about_tokens(text) <= SUGGESTED_TOKENS
    return is_short and all(occurrences(evidence, part) for part in text.split(ITEMS))


def point_by_words(question: str, contents: Sequence[str], n: int = 2) -> list[Pointed]:
    """The ``n`` sentences that share most words with ``question``, rare ones counting more; what is pointed to where
    no reader reads.
    """
    asked = set(_words(question))
    places = [Pointed(i, *span) for i, content in enumerate(contents) for span in sentences(content)]
    words = [set(_words(contents[place.passage_index][place.start : place.end])) for place in places]
    counts = Counter(word for found in words for word in found)
    shared = [sum(math.log(1 + len(places) / counts[word]) for word in asked & found) for found in words]
    order = sorted(range(len(places)), key=lambda i: -shared[i])
    return [places[i] for i in order[:n]]


def sentences(content: str) -> list[tuple[int, int]]:
    """(start, end) of every sentence or line, outer white space aside; none of them is empty."""
    spans = []
    start = 0
    for stop in [*(match.end() for match in _SENTENCE_END.finditer(content)), len(content)]:
        text = content[start:stop]
        if text.strip():
            first = start + len(text) - len(text.lstrip())
            spans.append((first, first + len(text.strip())))
        start = stop
    return spans


def about_tokens(text: str) -> int:
    """How many tokens ``text`` may be, rather too many than too few: the writer's tokenizer makes .5 to 1.05 of it
    (900 pieces of evidence in both languages). What is not written in Latin letters counts its bytes.
    """
    return len(_TOKEN.findall(_FOREIGN.sub(lambda found: "." * len(found.group().encode("utf-8")), text)))


def ending(question: str) -> str:
    """``question``, or of one that is too long the last QUESTION_BYTES bytes of UTF-8: a follow-up's own words stand
    there, behind whatever was pasted into the turn before.
    """
    return question.encode("utf-8")[-QUESTION_BYTES:].decode("utf-8", errors="ignore")  # half a character is dropped


def evidence_messages(
    question: str, lang: Lang, evidence: Sequence[str], suggested: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Chat messages: the instruction of the language, the numbered ``evidence``, the question (its `ending`), and what
    is ``suggested`` as its answer last.
    """
    numbered = "\n".join(f"[{number}] {text}" for number, text in enumerate(evidence, start=1))
    perhaps = f"\n{_SUGGESTED[lang]} {' | '.join(suggested)}" if suggested else ""
    return [
        {"role": "system", "content": INSTRUCTIONS[lang]},
        {"role": "user", "content": f"{numbered}\n{_ASKED[lang]} {ending(question)}{perhaps}"},
    ]


def _by_nearness(
    pieces: dict[int, list[tuple[int, int]]], pointed: Sequence[Pointed]
) -> Iterator[tuple[int, int, Pointed]]:
    """(passage, sentence, place it is near to), each sentence once, in the order in which they are wanted."""
    seen: set[tuple[int, int]] = set()
    for index, number, place in _wanted(pieces, pointed):
        if 0 <= number < len(pieces[index]) and (index, number) not in seen:
            seen.add((index, number))
            yield index, number, place


def _wanted(pieces: dict[int, list[tuple[int, int]]], pointed: Sequence[Pointed]) -> Iterator[tuple[int, int, Pointed]]:
    holding = [(place, _holding(pieces[place.passage_index], place)) for place in pointed]
    for place, numbers in holding:
        for number in numbers:
            yield place.passage_index, number, place
    for place, _ in holding:
        yield place.passage_index, 0, place
    for distance in range(1, max((len(spans) for spans in pieces.values()), default=0)):
        for place, numbers in holding:
            if numbers:
                yield place.passage_index, numbers[0] - distance, place
                yield place.passage_index, numbers[-1] + distance, place


def _holding(spans: Sequence[tuple[int, int]], place: Pointed) -> list[int]:
    end = max(place.end, place.start + 1)
    return [number for number, (start, stop) in enumerate(spans) if start < end and place.start < stop]


def _around(sentence: str, at: int, max_words: int) -> str:
    """``sentence``, or of one that is too long the ``max_words`` words around character ``at``."""
    words = list(re.finditer(r"\S+", sentence))
    if len(words) <= max_words:
        return sentence
    near = sum(word.end() <= at for word in words)
    first = max(0, min(near - max_words // 2, len(words) - max_words))
    return sentence[words[first].start() : words[first + max_words - 1].end()]


def _joined(content: str, spans: Sequence[tuple[int, int]], taken: dict[tuple[int, int], str], index: int) -> str:
    """Neighbours of one line follow each other; where a line ends, or something was left out, a line ends."""
    text, last = "", -1
    for number in range(len(spans)):
        if (index, number) not in taken:
            continue
        follows = number == last + 1 and last >= 0 and "\n" not in content[spans[last][1] : spans[number][0]]
        text += (" " if follows else "\n" if text else "") + taken[index, number]
        last = number
    return text


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.casefold()) if len(word) > 2 or word.isdigit()]
