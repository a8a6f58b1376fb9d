"""What a verifier reads beside a question: an answer as a claim, with the words around its quote.

Knows answers and passages; nothing of models. The verifier is not told how sure the rung was: a second opinion that
rests on the first one is none.
"""

from collections.abc import Sequence

from palier.domain.answering import Hit, RungAnswer

AROUND = 220
"""Characters of the passage kept before and after the quote: who "she" is stands in the sentence before."""
QUOTE = 400
PLACE = 80
ANSWER = 300


def claim_of(answer: RungAnswer, hits: Sequence[Hit]) -> str:
    """``answer`` as a claim, with the passage around its first quote where it has one.

    Of an answer that says nothing, what it withheld; empty where there is nothing to judge.
    """
    text, cited = answer.text, answer.citations[0] if answer.citations else None
    if not text and answer.withheld:
        text, cited = answer.withheld
    if cited is None:
        return claim(text, "", "", "")
    passage = next((hit.passage for hit in hits if hit.passage.passage_id == cited.passage_id), None)
    if passage is None:
        return claim(text, cited.quote, cited.quote, "")
    return claim(text, cited.quote, passage.content, passage.place)


def claim(text: str, quote: str, content: str, place: str) -> str:
    """``answer | place of the passage | words around the quote``; the answer alone where there is no quote.

    ``content`` begins with a line ``place``, or ``place`` is empty.
    """
    said = " ".join(text.split())[:ANSWER]
    if not quote:
        return said
    start = max(0, content.find(quote))
    end = start + min(len(quote), QUOTE)
    first = max(start - AROUND, 0) or (len(place) + 1 if place else 0)
    around = content[first : max(first, end + AROUND)]
    return " | ".join((said, place[:PLACE], " ".join(around.split())))
