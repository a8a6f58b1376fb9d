"""Is an answer borne out by what was read? Counts of words, numbers and names, in microseconds.

Knows strings only. A word stands for itself (case and accents aside): a paraphrase counts as not grounded, and a
sentence that turns the facts round counts as grounded. That is the price of asking no model; the scorer learns how
far each count can be trusted.
"""

import re
from collections.abc import Sequence

from palier.domain.documents import Lang
from palier.domain.text_metrics import normal, token_f1
from palier.domain.words import without_accents

_NUMBER = re.compile(r"\d+(?:[.,:h]\d+)*")
_WORD = re.compile(r"\w{2,}")
_WHEN = re.compile(
    r"\b(when|(?:what|which) (?:time|year|date|day|month|decade|century)|quand"
    r"|quelle (?:heure|ann[ée]e|date|[ée]poque)|quel (?:jour|mois|si[eè]cle))\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"\b(how (?:much|many|long|far|old|often|tall|big|high|large)|what (?:percent|percentage|number|age)|price|cost"
    r"|combien|prix|co[uû]te|tarif|quel (?:âge|nombre|pourcentage|montant)"
    r"|quelle (?:distance|superficie|taille|hauteur|longueur|dur[ée]e|proportion|quantit[ée]))\b",
    re.IGNORECASE,
)
_WHO_OR_WHERE = re.compile(
    r"\b(who|whom|whose|where|(?:what|which) (?:city|country|person)|qui|où|quel(?:le)? (?:ville|pays|personne)"
    r"|comment s['’]appel\w+|quel est (?:le|son) nom|what (?:is|was) the name)\b",
    re.IGNORECASE,
)
_DATE_WORD = re.compile(
    r"\d|\b(january|february|march|april|may|june|july|august|september|october|november|december|monday|tuesday"
    r"|wednesday|thursday|friday|saturday|sunday|janvier|f[ée]vrier|mars|avril|mai|juin|juillet|ao[uû]t|septembre"
    r"|octobre|novembre|d[ée]cembre|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|century|si[eè]cle|noon"
    r"|midnight|midi|minuit|summer|winter|[ée]t[ée]|hiver)\b",
    re.IGNORECASE,
)
_NUMBER_WORD = re.compile(
    r"\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|hundred|thousand|million|billion"
    r"|half|no|none|free|once|twice|un|une|deux|trois|quatre|cinq|sept|huit|neuf|dix|onze|douze|vingt|cent|mille"
    r"|millions?|milliards?|moiti[ée]|aucune?|gratuite?)\b",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(i think|i believe|probably|perhaps|maybe|not sure|might|it seems|je pense|je crois|probablement"
    r"|peut-être|pas s[ûu]r|il semble|sans doute)\b",
    re.IGNORECASE,
)


def share_of_numbers(answer: str, evidence: str) -> float:
    """Share of the answer's numbers that stand in ``evidence``; 1.0 where it has none."""
    return _share(_NUMBER.findall(answer), set(_NUMBER.findall(evidence)))


def share_of_names(answer: str, evidence: str) -> float:
    """Share of the answer's capitalised words that stand in ``evidence``, whatever their case and accents; 1.0 without
    any. Each part of "Jean-Paul" is a word, and of "d'Orléans" the longer one.
    """
    return _share([_bare(name) for name in _names(answer)], set(_WORD.findall(_bare(evidence))))


def n_supporting(answer: str, passages: Sequence[str], lang: Lang) -> int:
    """How many passages hold the answer's words in their order (articles, case, accents aside)."""
    wanted = normal(answer, lang)
    return sum(f" {wanted} " in f" {normal(passage, lang)} " for passage in passages) if wanted else 0


def type_match(question: str, answer: str) -> float:
    """1.0 where the answer has the form that the question asks for (a date, a number, a name), -1.0 where it has not,
    0.0 where no form is asked for."""
    for asks, found in ((_WHEN, _DATE_WORD.search), (_AMOUNT, _NUMBER_WORD.search), (_WHO_OR_WHERE, _names)):
        if asks.search(question):
            return 1.0 if found(answer) else -1.0
    return 0.0


def echo(question: str, answer: str, lang: Lang) -> float:
    """Share of the answer's words that the question has said already."""
    return _share(normal(answer, lang).split(), set(normal(question, lang).split()))


def hedges(answer: str) -> float:
    """1.0 where the answer says that it is not sure."""
    return float(bool(_HEDGE.search(answer)))


def agreement(answer: str, earlier: Sequence[str], lang: Lang) -> tuple[float, float, float]:
    """(best, mean, silent): token F1 with the most alike and with the mean of the earlier answers that said something,
    and the share of earlier ones that said nothing. Zeros where nothing was said before.

    Of two silences the likeness is 1.0: to say nothing is a statement too.
    """
    if not earlier:
        return 0.0, 0.0, 0.0
    likeness = [token_f1(answer, other, lang) if other or answer else 1.0 for other in earlier]
    silent = sum(not other for other in earlier) / len(earlier)
    return max(likeness), sum(likeness) / len(likeness), silent


def _names(text: str) -> list[str]:
    return [word for word in _WORD.findall(text) if word[0].isupper()]


def _bare(text: str) -> str:
    return without_accents(text).casefold()


def _share(said: Sequence[str], known: set[str]) -> float:
    return sum(word in known for word in said) / len(said) if said else 1.0
