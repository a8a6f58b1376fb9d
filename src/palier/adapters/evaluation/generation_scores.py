"""BLEU, ROUGE-L and METEOR of one answer, by the libraries that define them.

The only home of sacrebleu, rouge-score and NLTK. They need no download: METEOR runs its exact and stem stages (Snowball
stems of both languages) and not its synonym stage, since WordNet is neither in the package nor French. Answers and
references come in without accents, as everywhere in our text metrics; ROUGE's tokeniser would part words at them. The
price: these measures were made for sentences; of an answer of three words BLEU sees hardly anything (its n-grams are
cut to those that such an answer can have), so read them beside F1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from palier.domain.documents import Lang
from palier.domain.noise import without_accents

STEMMERS: dict[Lang, str] = {"en": "english", "fr": "french"}


@dataclass(frozen=True, slots=True)
class GenerationScores:
    """All 0..1, the best over the acceptable answers; 0 for no answer."""

    bleu: float
    rouge_l: float
    meteor: float


def generation_scores(answer: str, references: Sequence[str], lang: Lang) -> GenerationScores:
    """The scores of ``answer``; ValueError when there is no reference.

    BLEU is sacrebleu's of one sentence with effective order; ROUGE-L is the F1 of the longest common subsequence.
    """
    if not references:
        raise ValueError("No reference answer to compare with: leave unanswerable questions out.")
    said, wanted = _plain(answer), [_plain(reference) for reference in references]
    if not said:
        return GenerationScores(0.0, 0.0, 0.0)
    return GenerationScores(
        bleu=float(_bleu().sentence_score(said, wanted).score) / 100,
        rouge_l=max(_rouge().score(reference, said)["rougeL"].fmeasure for reference in wanted),
        meteor=_meteor(said, wanted, lang),
    )


def corpus_bleu(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """sacrebleu's corpus BLEU, 0..100, over answers with one or more references each; 0.0 without an answer."""
    if not answers:
        return 0.0
    from sacrebleu.metrics.bleu import BLEU

    most = max(len(row) for row in references)
    streams: Any = [[_plain(row[i]) if i < len(row) else None for row in references] for i in range(most)]
    return float(BLEU().corpus_score([_plain(answer) for answer in answers], streams).score)


def _plain(text: str) -> str:
    return " ".join(without_accents(text).lower().split())


@cache
def _bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU  # imported where used: the command line must start fast

    return BLEU(effective_order=True)


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


@cache
def _stemmer(lang: Lang) -> Any:
    from nltk.stem.snowball import SnowballStemmer

    return SnowballStemmer(STEMMERS[lang])


class _NoSynonyms:
    """What METEOR asks for synonyms: a word has none."""

    def synsets(self, _word: str) -> list[Any]:
        return []


def _meteor(said: str, wanted: Sequence[str], lang: Lang) -> float:
    from nltk.translate.meteor_score import meteor_score

    references = [_words(reference) for reference in wanted]
    return float(meteor_score(references, _words(said), stemmer=_stemmer(lang), wordnet=_NoSynonyms()))


def _words(text: str) -> list[str]:
    from nltk.tokenize import wordpunct_tokenize

    return list(wordpunct_tokenize(text))
