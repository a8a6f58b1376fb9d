"""Several questions in one prompt: what all questions have in common (instructions, examples) is then paid once.

Pure: joins texts, takes a reply apart, and shares a cost so that the parts add up to the nano-dollar. The price, which
`palier bench economy` measures: a model may skip a question or mix two up, and one that is skipped must be asked again.
"""

import re
from collections.abc import Sequence

_TASK = "Answer each of these {n} questions on a line of its own that begins with the question's number, like `1) `."
_NUMBERED = re.compile(r"^\W{0,3}(\d{1,3})\s*[).:\]]\W{0,3}\s*", re.MULTILINE)


def joined(questions: Sequence[str]) -> str:
    """One message that asks all ``questions``, numbered from 1."""
    lines = [f"{number}) {' '.join(question.split())}" for number, question in enumerate(questions, 1)]
    return "\n".join([_TASK.format(n=len(questions)), *lines])


def taken_apart(reply: str, n: int) -> list[str | None]:
    """The ``n`` answers in ``reply``, in order; None for a question that it does not answer.

    Numbers must rise: a list inside an answer ("1. flour 2. eggs") begins again and belongs to that answer.
    """
    answers: list[str | None] = [None] * n
    marks: list[tuple[int, int, int]] = []
    for mark in _NUMBERED.finditer(reply):
        number = int(mark.group(1))
        if (marks[-1][0] if marks else 0) < number <= n:
            marks.append((number, mark.start(), mark.end()))
    for place, (number, _, start) in enumerate(marks):
        end = marks[place + 1][1] if place + 1 < len(marks) else len(reply)
        answers[number - 1] = reply[start:end].strip() or None
    return answers


def shared_cost(total_nanousd: int, n: int) -> list[int]:
    """``total_nanousd`` in ``n`` parts that differ by one at most and add up to it."""
    part, rest = divmod(total_nanousd, n)
    return [part + (place < rest) for place in range(n)]
