"""From what people said of answers to rows that models may learn from.

Pure: judged answers come in (without personal data already), examples and labels go out, and the reason for every row
that was left out. Nothing here trusts a person: a claim teaches only if a passage of the live revision says so too, if
no golden question says otherwise, if those who were asked do not disagree, and up to a share of all rows per key. Nor
does it let a test question, its document or its passage be learned. The price: a right correction of what the documents
do not say is lost (mend the documents instead), and so is most of what a single busy key says.

A ledger row holds no conversation: a follow-up question ("and on Sunday?") is learned as it stands.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from palier.domain.answer_support import Support, find_support
from palier.domain.documents import Lang, Passage
from palier.domain.feedback_corpus import HELD, FeedbackCorpus, same_answer
from palier.domain.feedback_votes import Cap, capped, elected, one_question_each
from palier.domain.golden import GoldenQuestion
from palier.domain.ledger import CACHE, GUARD
from palier.domain.personal_data import holds_placeholder
from palier.domain.prompting import said_of
from palier.domain.reading_tasks import answer_spans
from palier.domain.text_metrics import normal, token_f1
from palier.params import CollectFeedbackParams

Source = Literal["correction", "thumb", "heavy"]
MIN_KEYS_FOR_NO_ANSWER = 2
"""That nothing answers a question is a claim that no passage can bear out: another key must."""


class JudgedAnswer(BaseModel):
    """One answer as one key judged it, or as a heavy rung gave it unjudged; texts hold no personal data.

    ``answer`` is empty for an "I don't know"; ``cited`` are (document id, passage id); ``at`` is an ISO date;
    ``asked_by`` is the key that asked, None in rows that were drawn before it was kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    key_id: str
    at: str
    lang: Lang
    question: str
    answer: str
    rung: str | None
    is_heavy: bool
    score: float | None
    asked_by: str | None = None
    rating: Literal[-1, 1] | None = None
    correction: str | None = None
    cited: tuple[tuple[str, str], ...] = ()


class FeedbackExample(GoldenQuestion):
    """A golden question's form, learned from use; never in the test split."""

    source: Source
    n_keys: int
    """So many keys said it."""


class AnswerLabel(BaseModel):
    """How good people find a rung's answer to a question, 0..1; ``weight`` is the number of keys that said so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    lang: Lang
    question: str
    answer: str
    rung: str
    document_id: str
    quality: float
    weight: float


@dataclass(frozen=True)
class Sifted:
    """What may be learned; ``dropped`` counts by reason the rows that teach nothing, and the labels of no rung."""

    examples: list[FeedbackExample]
    labels: list[AnswerLabel]
    dropped: Counter[str]
    n_rows: int


@dataclass(frozen=True)
class _Claim:
    """One key's word on a question: ``answer`` is right, or is not where ``voice`` is below 0."""

    claim_id: str
    key_id: str
    lang: Lang
    question: str
    answer: str
    source: Source
    voice: int
    document_id: str
    example: FeedbackExample | None = None

    @property
    def by_machine(self) -> bool:
        return self.source == "heavy"


def sift(rows: Sequence[JudgedAnswer], corpus: FeedbackCorpus, rules: CollectFeedbackParams) -> Sifted:
    """The rows that may be learned from, in order of time; the same rows give the same result in any order."""
    dropped: Counter[str] = Counter()
    claims: list[_Claim] = []
    labels: list[tuple[str, AnswerLabel]] = []
    for row in sorted(rows, key=lambda row: (row.at, row.request_id, row.key_id)):
        judged = _Judgement(row, corpus, rules)
        claim = judged.claim()
        if isinstance(claim, str):
            dropped[claim] += 1
        else:
            claims.append(claim)
        label = judged.label(None if isinstance(claim, str) else claim.example)
        if label is not None and label.rung == CACHE:
            dropped["label of a cached answer whose rung is not known"] += 1
        elif label is not None:
            labels.append((row.key_id, label))
    examples = _believed(claims, rules, dropped)
    return Sifted(examples, _labels(labels, rules), dropped, len(rows))


class _Judgement:
    """One row beside the corpus."""

    def __init__(self, row: JudgedAnswer, corpus: FeedbackCorpus, rules: CollectFeedbackParams) -> None:
        self._row, self._corpus, self._rules = row, corpus, rules
        # What was cited, and nothing else, even where it is gone: elsewhere the same words say something else.
        self._near = corpus.cited(row.cited) if row.cited else corpus.alike(row.question, row.lang)
        self._about = self._near[0].document_id if self._near else ""
        likeliest = [(passage.document_id, passage.passage_id) for passage in self._near[:1]]
        self._held = corpus.held_split((*row.cited, *likeliest))
        self._golden = corpus.golden_like(row.question, row.lang, self._about)

    def claim(self) -> _Claim | str:
        """What the row says, supported by a passage, or the reason why it teaches nothing."""
        said = self._said()
        if isinstance(said, str):
            return said
        if self._golden is not None:
            return self._against_golden(said)
        if self._held is not None:
            return f"document of {self._held} questions"
        if said.voice < 0:
            return said
        if not said.answer:
            return self._placed(said, None)
        support = find_support(said.answer, said.lang, self._near, self._rules.min_support)
        if support is None and (said.source != "correction" or self._rules.corrections_need_passage):
            return "in no current passage"
        return self._placed(said, support)

    def label(self, example: FeedbackExample | None) -> AnswerLabel | None:
        """What the row says of the answer that was given; None where it may not be learned, or says nothing."""
        row, trust = self._row, self._rules.thumb_trust
        passage = next(iter(self._near), None)
        is_held = passage is None or self._held is not None
        is_golden = self._golden is not None and self._golden.split != "train"
        if is_held or is_golden or row.rung in (None, GUARD) or holds_placeholder(row.answer):
            return None
        if row.correction is not None and example is not None and example.passage_ids:
            quality = token_f1(row.answer, example.answers[0], row.lang)
        elif row.rating is not None:
            quality = trust if row.rating > 0 else 1.0 - trust
        else:
            return None
        assert passage is not None
        assert row.rung is not None
        return AnswerLabel(
            id=_id_of(row),
            lang=row.lang,
            question=row.question,
            answer=row.answer,
            rung=row.rung,
            document_id=passage.document_id,
            quality=quality,
            weight=1.0,
        )

    def _said(self) -> _Claim | str:
        row, rules = self._row, self._rules
        source: Source
        voice: int
        if row.rung == GUARD:
            return "refused by the guard"
        if row.correction is not None:
            answer, source, voice = said_of(row.correction), "correction", 1
        elif row.rating is not None:
            answer, source, voice = row.answer, "thumb", row.rating
        elif row.is_heavy and row.answer and (row.score or 0.0) >= rules.heavy_min_score:
            answer, source, voice = row.answer, "heavy", 1
        else:
            return "not judged, and not believed"
        if holds_placeholder(answer):
            return "personal data in the answer"
        return _Claim(_id_of(row), row.key_id, row.lang, row.question, answer, source, voice, self._about)

    def _against_golden(self, said: _Claim) -> str:
        assert self._golden is not None
        if self._golden.split != "train":
            return f"a {self._golden.split} question"
        agrees = same_answer(said.answer, self._golden.answers, said.lang) == (said.voice > 0)
        return "a golden question already" if agrees else "contradicts a golden answer"

    def _placed(self, said: _Claim, support: Support | None) -> _Claim | str:
        """The claim as an example of its passage's document, if that may be learned."""
        passage = support.passage if support else next(iter(self._near), None)
        if passage is None:
            return "in no current passage"
        split = self._corpus.split_of(passage)
        if (held := self._corpus.golden_split(passage)) in HELD:
            return f"document of {held} questions"
        example = _example(said, support, passage)
        if support and not answer_spans(example, passage)[0]:
            return "in no current passage"
        said_so = example.answers[0] if example.answers else ""
        return replace(said, answer=said_so, document_id=passage.document_id, example=_in(example, split))


def _example(said: _Claim, support: Support | None, passage: Passage) -> FeedbackExample:
    """The row that a reader learns: the answer in its passage's own words."""
    answer = support.answer if support else said.answer
    return FeedbackExample(
        id=said.claim_id,
        lang=said.lang,
        question=said.question,
        answers=(answer,) if answer else (),
        document_id=passage.document_id,
        quote=support.quote if support else "",
        answerable=bool(answer),
        kind=("list" if support and support.is_list else "fact") if answer else "unanswerable",
        split="train",
        passage_ids=(passage.passage_id,) if support else (),
        source=said.source,
        n_keys=1,
    )


def _in(example: FeedbackExample, split: Literal["train", "validation", "test"]) -> FeedbackExample:
    return example.model_copy(update={"split": split})


def _believed(claims: Sequence[_Claim], rules: CollectFeedbackParams, dropped: Counter[str]) -> list[FeedbackExample]:
    """One example for each question on which people agree, within the caps of the keys."""
    chosen: list[_Claim] = []
    n_said = Counter(claim.key_id for claim in claims)
    for group in one_question_each(claims, rules.near):
        agreed = elected(group)
        in_favour = sum(claim.voice > 0 for claim in group)
        dropped["a thumb down"] += len(group) - in_favour
        if not agreed:
            dropped["people disagree"] += in_favour
            continue
        if not agreed[0].answer and len(agreed) < MIN_KEYS_FOR_NO_ANSWER:
            dropped["that nothing answers it, said by one key"] += in_favour
            continue
        n_alike = sum(same_answer(claim.answer, [agreed[0].answer], claim.lang) for claim in group if claim.voice > 0)
        dropped["said already"] += n_alike - 1
        dropped["outvoted"] += in_favour - n_alike
        best = max(agreed, key=lambda claim: claim.source == "correction")
        assert best.example is not None
        # Of several keys, it counts for the one that says least: a busy key takes nothing from the others' share.
        quietest = min(agreed, key=lambda claim: n_said[claim.key_id]).key_id
        example = best.example.model_copy(update={"n_keys": len(agreed)})
        chosen.append(replace(best, key_id=quietest, example=example))
    kept = capped(chosen, _cap(rules), lambda claim: claim.key_id, lambda claim: claim.claim_id)
    dropped["more than the key's share"] += len(chosen) - len(kept)
    for reason in [reason for reason, n in dropped.items() if not n]:
        del dropped[reason]
    return [claim.example for claim in kept if claim.example is not None]


def _labels(labels: Sequence[tuple[str, AnswerLabel]], rules: CollectFeedbackParams) -> list[AnswerLabel]:
    """One label for each rung's answer to a question: the mean over keys, each key's last word counting once."""
    latest = {(key_id, _about(label)): (key_id, label) for key_id, label in labels}
    # Only then: a cap over all words would forget some last ones for earlier ones, and count repeats as labels.
    kept = capped(list(latest.values()), _cap(rules), lambda pair: pair[0], lambda pair: pair[1].id)
    alike: dict[tuple[str, ...], list[AnswerLabel]] = {}
    for _, label in kept:
        alike.setdefault(_about(label), []).append(label)
    return [_mean(of_keys) for of_keys in alike.values()]


def _about(label: AnswerLabel) -> tuple[str, ...]:
    """What a label judges: this answer of this rung to this question, however it is written."""
    return label.rung, label.lang, normal(label.question, label.lang), normal(label.answer, label.lang)


def _mean(labels: Sequence[AnswerLabel]) -> AnswerLabel:
    quality = sum(label.quality for label in labels) / len(labels)
    return labels[0].model_copy(update={"quality": quality, "weight": float(len(labels))})


def _cap(rules: CollectFeedbackParams) -> Cap:
    return Cap(rules.max_key_share, rules.max_key_rows, rules.free_key_rows)


def _id_of(row: JudgedAnswer) -> str:
    return learned_id(row.request_id, row.key_id)


def learned_id(request_id: str, key_id: str) -> str:
    """The id of what a key's word on a request taught: stable, and tells neither of them to whoever reads it."""
    digest = hashlib.sha256(f"{request_id}\0{key_id}".encode()).hexdigest()
    return f"feedback-{digest[:12]}"
