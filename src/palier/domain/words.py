"""The words of a text that carry its subject, cut to crude stems that serve both languages.

Knows letters only: no dictionary, no analyser, so that a question and a passage can be compared in microseconds and
without the search engine. The price: "organise" and "organ" look alike here.
"""

import re
import unicodedata

_QUESTION_WORDS = """
what when where which who whom whose does have with from that this these those there their they
your about would could should much many long will please tell give show need want know make
quel quelle quels quelles comment combien quand pour avec dans est-ce sont vous votre vos nous notre mais plus
cela cette etes êtes peut puis pouvez faire faut dois avoir entre elle elles leur leurs tout tous toute aussi
dites donne donnez montre
"""
_EMPTY_WORDS = frozenset(_QUESTION_WORDS.split())


def content_words(text: str) -> set[str]:
    """Stems of the words of four letters or more that are not question words, and numbers.

    Question words are compared whole and with their accents: "entre" is not "entreprise", nor "mais" "maïs".
    """
    words = _words(unicodedata.normalize("NFC", text))
    return stems(" ".join(word for word in words if word not in _EMPTY_WORDS))


def stems(text: str) -> set[str]:
    """The first five letters of each longer word, without case and accents: crude, and the same in both languages."""
    return {word[:5] for word in _words(without_accents(text))}


def _words(text: str) -> list[str]:
    return re.findall(r"\w{4,}|\d+", text.casefold())


def without_accents(text: str) -> str:
    """``text`` with its letters bare, "œ" as it is typed in a hurry."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return bare.replace("œ", "oe").replace("Œ", "OE")
