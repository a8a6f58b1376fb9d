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
        return claim(text, "", "")
    contents = {hit.passage.passage_id: hit.passage.content for hit in hits}
    return claim(text, cited.quote, contents.get(cited.passage_id, cited.quote))


def claim(text: str, quote: str, content: str) -> str:
    """``answer | place of the passage | words around the quote``; the answer alone where there is no quote."""
    said = " ".join(text.split())[:ANSWER]
    if not quote:
        return said
    found = content.find(quote)
    start = max(0, found)
    end = start + min(len(quote), QUOTE)
    place, _, body = content.partition("\n")
    first = max(start - AROUND, 0)
    around = content[first : end + AROUND] if first else body[: max(0, end + AROUND - len(place) - 1)]
    return " | ".join((said, place[:PLACE], " ".join(around.split())))
