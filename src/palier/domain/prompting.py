"""The words between Palier and a language model: the prompt it gets, and what its reply means.

Shared by the local writer and the heavy rung, so that both are asked, and read, in the same way.
"""

import re
from collections.abc import Sequence

from palier.domain.answering import Citation, Hit, Question
from palier.domain.documents import Lang

DONT_KNOW: dict[Lang, str] = {"en": "I don't know.", "fr": "Je ne sais pas."}

_UNKNOWN = re.compile(
    r"^\W*(i do ?n['’]?t know|i do not know|je ne sais pas|((i['’]m|i am) )?sorry,? (but )?i (don|do not|can)"
    r"|(je suis )?d[ée]sol[ée]e?,? (mais )?je ne |not (stated|mentioned) in"
    r"|(non|pas) (indiqu|mentionn|pr[ée]cis)[ée]e?s? dans)",
    re.IGNORECASE,
)
_MARK = re.compile(r"\s*\[(\d{1,2}|[1-9]\d?(?:\s*[,;]\s*[1-9]\d?)+)\]")
"""One passage, or several as in "[1, 2]"; "[0, 1]" is an interval, since passages are numbered from 1."""
_CUT_MARK = re.compile(r"\s*\[(?:[1-9]\d?\s*[,;]\s*)*\d{0,2}\s*$")


def messages(
    prompt: str, question: Question, hits: Sequence[Hit], max_words: int | None = None
) -> list[dict[str, str]]:
    """Chat messages: instructions, the conversation so far, then numbered passages and the question.

    ``max_words`` bounds the words of all passages together (a small model is given little to read).
    """
    evidence = _numbered(hits, max_words)
    asked = f"{evidence}\n\n{question.text}" if evidence else question.text
    earlier = [{"role": turn.role, "content": turn.content} for turn in question.history]
    return [{"role": "system", "content": prompt}, *earlier, {"role": "user", "content": asked}]


def read_reply(reply: str, hits: Sequence[Hit]) -> tuple[str, tuple[Citation, ...]]:
    """The answer without its marks, and what it cites; ("", ()) when the model says that it does not know.

    A reply without a valid mark cites the best passage: an answer from passages always names one. Without passages
    there is nothing to cite, and "[1]" is part of the answer.
    """
    text = said_of(reply) if hits else reply.strip()
    if not text or _UNKNOWN.match(text):
        return "", ()
    numbers = [int(number) - 1 for mark in _MARK.findall(reply) for number in re.findall(r"\d+", mark)]
    cited = [hits[i] for i in dict.fromkeys(numbers) if 0 <= i < len(hits)] or list(hits[:1])
    return text, tuple(_citation(hit, text) for hit in cited)


def said_of(reply: str) -> str:
    """The answer without its marks, also one that was cut off; empty when the model says that it does not know."""
    text = _CUT_MARK.sub("", _MARK.sub("", reply)).strip()
    return "" if _UNKNOWN.match(text) else text


def best_sentence(passage: str, answer: str) -> str:
    """The line or sentence of ``passage`` that shares most words with ``answer``, word for word."""
    pieces = [piece.strip() for piece in re.split(r"\n+|(?<=[.!?])\s+", passage) if piece.strip()]
    return max(pieces, key=lambda piece: n_shared_words(piece, answer), default="")


def n_shared_words(text: str, answer: str) -> int:
    """How many distinct words of ``answer`` stand in ``text``; case and punctuation aside."""
    return len(set(re.findall(r"\w+", answer.casefold())) & set(re.findall(r"\w+", text.casefold())))


def _citation(hit: Hit, answer: str) -> Citation:
    passage = hit.passage
    return Citation(passage.passage_id, passage.document_id, best_sentence(passage.text, answer))


def _numbered(hits: Sequence[Hit], max_words: int | None) -> str:
    room = max_words if max_words is not None else 1_000_000
    lines = []
    for number, hit in enumerate(hits, start=1):
        words = re.findall(r"\s*\S+", hit.passage.content)  # line ends part words too, and stay where they are
        if room <= 0:
            break
        lines.append(f"[{number}] {''.join(words[:room])}")
        room -= len(words)
    return "\n\n".join(lines)
