"""Which of our two languages a question is in, or a passage.

Made for one line of text: function words, elisions and accents vote, endings of words break ties. No model
and no dictionary, so it costs microseconds. The price: a text that is only names ("Margherita 33 cm?") says
nothing, and the caller's default decides.
"""

import re
import unicodedata
from collections.abc import Sequence

from palier.domain.documents import Lang

_WORD = re.compile(r"[^\W\d_]+")
_ELISION = re.compile(r"\b(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu)['’](?=\w)", re.IGNORECASE)
_ENGLISH_APOSTROPHE = re.compile(r"\w['’](?:s|t|re|ve|ll|m|d)\b", re.IGNORECASE)
_ACCENT = re.compile(r"[àâçèéêëîïôùûœ]", re.IGNORECASE)
# Verbs before "-on" end in t, or in d after n or r ("prend-on"): "carry-on", "sign-on" and "add-on" are English.
_INVERSION = re.compile(
    r"-(?:je|tu|il|elle|nous|vous|ils|elles|ce|t-il|t-elle|moi|là)\b|(?:(?<=t)|(?<=[nr]d))-on\b", re.IGNORECASE
)

_FRENCH_WORDS = """
le la les un une des du de au aux et ou où en dans sur sous chez par pour sans avec vers entre
depuis avant après je tu il elle on nous vous ils elles ce cet cette ces mon ma mes ton ta tes son
sa ses notre nos votre vos leur leurs qui que quoi quel quelle quels quelles quand comment pourquoi
combien lequel laquelle est sont était étaient être suis es sommes êtes ai as avons avez ont avoir
peut peux peuvent puis pouvez faut fait faire dois doit doivent veux veut voulez y ne pas plus moins
très aussi si oui non bonjour merci svp ça cela moi toi lui donc mais car quelqu aujourd hier demain
ici là même tout toute tous toutes encore toujours jamais rien peu trop prix heures jours livraison
gratuit gratuite ouvert ouverte lundi mardi mercredi jeudi vendredi samedi dimanche janvier février
avril juin juillet août octobre décembre
"""
_ENGLISH_WORDS = """
the a an of and or in at on under by for without with to from between since before after into i you
he she it we they this that these those my your his her its our their me him us them who whom whose
what which when where why how is are was were be been being am do does did done have has had can
could may might must shall should will would not no yes more less very also too if so but because
than then there here any some many much all every each about as up out off over only ever still
again please hello thanks today tomorrow yesterday first last name price free hours open opening
delivery monday tuesday wednesday thursday friday saturday sunday january february march june july
august december
"""
# The same letters in both languages (or a name in one): they vote for nobody.
_BOTH = frozenset({"on", "me", "a", "plus", "main", "or", "car", "as", "son", "but"})
_FRENCH = frozenset(_FRENCH_WORDS.split()) - _BOTH
_ENGLISH = frozenset(_ENGLISH_WORDS.split()) - _BOTH
_FRENCH_ENDING = re.compile(r"(?:tion|ment|eur|euse|eux|elle|ette|aire|ique|ais|ait|aient|ez|ées?|és?|oire|ière)$")
_ENGLISH_ENDING = re.compile(r"(?:ing|ed|ly|ness|ght|th|ck|wh\w+|oo\w?|ee\w?|sh|y)$")

PASSAGE_MIN_WORDS = 12
PASSAGE_VOTES_PER_WORD = 0.1


def detect_language(text: str, earlier: Sequence[str] = (), default: Lang = "en") -> Lang:
    """The language of ``text``; without a clue in it, of the latest of ``earlier`` that has one, then
    ``default``.
    """
    for candidate in (text, *reversed(earlier)):
        balance = french_balance(candidate)
        if balance != 0:
            return "fr" if balance > 0 else "en"
    return default


def passage_language(text: str, default: Lang) -> Lang:
    """The language of a passage in a document of language ``default``: another one only on plain evidence.

    Names of dishes and streets bring accents and endings along, so only function words vote here, and a passage that is
    short, or has few of them for its length, stays in its document's language.
    """
    words = _WORD.findall(text.casefold())
    votes = sum((word in _FRENCH) - (word in _ENGLISH) for word in words)
    if len(words) < PASSAGE_MIN_WORDS or abs(votes) < PASSAGE_VOTES_PER_WORD * len(words):
        return default
    return "fr" if votes > 0 else "en"


def french_balance(text: str) -> float:
    """Votes for French less votes for English; 0 when nothing in ``text`` tells them apart.

    Accents vote once, however many there are: two dishes of "crème brûlée" make no question French.
    """
    text = unicodedata.normalize("NFC", text)
    words = _WORD.findall(text.casefold())
    marks = (
        2.0 * len(_ELISION.findall(text))
        + 2.0 * len(_INVERSION.findall(text))
        + 0.75 * bool(_ACCENT.search(text))
        - 1.5 * len(_ENGLISH_APOSTROPHE.findall(text))
    )
    function_words = sum((word in _FRENCH) - (word in _ENGLISH) for word in words)
    endings = sum(bool(_FRENCH_ENDING.search(word)) - bool(_ENGLISH_ENDING.search(word)) for word in words)
    return marks + function_words + 0.1 * endings
