"""POST /v1/search: the passages that an answer would rest on, without an answer.

Days are those of UTC, here and in chat: the gateway does not know where the person is who asks.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from palier.domain.answering import Hit, Origin, Question, origin_of
from palier.domain.documents import Lang
from palier.domain.fusion import SearchMode
from palier.domain.language import detect_language
from serving.answers import choose_seat
from serving.auth import Key
from serving.conversation import MAX_QUESTION_CHARS
from serving.desk import Call
from serving.problems import BadRequestProblem, ErrorBody
from serving.releases import Release
from serving.state import GatewayPart

router = APIRouter(prefix="/v1", tags=["search"])


class SearchRequest(BaseModel):
    """``language`` is detected where it is not given. ``mode`` is how the release answers, unless given;
    ``as_of`` is the day that passages must hold on (by the dates of validity that documents state), unless
    given today.
    """

    query: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS, examples=["delivery fee on Sundays"])
    k: int = Field(default=10, ge=1, le=100)
    language: Lang | None = None
    mode: SearchMode | None = None
    as_of: date | None = Field(default=None, examples=["2026-12-24"])


class HitShape(BaseModel):
    """One passage; ``score`` is in 0..1 and compares passages of this answer only, ``bm25`` and ``cosine``
    are null where that search missed it or was not asked, and so is ``rerank`` (a logit).
    ``near_duplicates`` were found too, say nearly the same, and are left out.
    """

    passage_id: str
    document_id: str
    revision: str
    title: str
    headings: str
    text: str
    start_line: int
    end_line: int
    valid_from: str | None
    valid_until: str | None
    score: float
    bm25: float | None
    cosine: float | None
    rerank: float | None
    near_duplicates: list[str]


class SearchAnswer(BaseModel):
    """Passages, best first, which index they came from, and how they were found; ``as_of`` is null where
    the release does not look at dates.
    """

    object: Literal["list"] = "list"
    release_id: str
    index: str
    language: Lang
    mode: SearchMode
    as_of: date | None
    data: list[HitShape]


@router.post(
    "/search",
    responses={status: {"model": ErrorBody} for status in (400, 401, 503)},
    summary="Find passages",
)
async def search_passages(body: SearchRequest, response: Response, gateway: GatewayPart, key: Key) -> SearchAnswer:
    """What the release that answers this key finds, in the index that is live: `bm25` (words), `dense`
    (vectors), `hybrid` (both fused) or `reranked` (the fused ones read again with the question).
    """
    release = choose_seat(gateway.releases.served, key.key_id, rung=None).release
    question = _question(body, release, datetime.now(UTC).date())
    mode = _mode(body, release, question.lang)
    hits = await gateway.desk.run(Call(lambda: release.retriever.search(question, body.k, mode)))
    response.headers["x-palier-release"] = release.manifest.release_id
    return _answer(release, question, mode, hits)


def _question(body: SearchRequest, release: Release, today: date) -> Question:
    lang = body.language or detect_language(body.query)
    if release.manifest.retrieval.only_valid:
        return Question(body.query, lang, as_of=body.as_of or today)
    if body.as_of:
        raise BadRequestProblem(
            "`as_of` is not supported: this release does not look at dates of validity (retrieval.only_valid is "
            "false). Leave it out.",
            param="as_of",
        )
    return Question(body.query, lang)


def _mode(body: SearchRequest, release: Release, lang: Lang) -> SearchMode:
    usual = release.manifest.retrieval.search_mode(lang)
    if body.mode == "reranked" and usual != "reranked":
        raise BadRequestProblem(
            f"`mode` reranked is not supported: this release does not rerank in {lang} (retrieval.rerank). Ask for "
            "bm25, dense or hybrid, or leave it out.",
            param="mode",
        )
    return body.mode or usual


def _answer(release: Release, question: Question, mode: SearchMode, hits: Sequence[Hit]) -> SearchAnswer:
    manifest = release.manifest
    origin = origin_of(hits, Origin(manifest.index, manifest.corpus_revision))
    return SearchAnswer(
        release_id=manifest.release_id,
        index=origin.index,
        language=question.lang,
        mode=mode,
        as_of=question.as_of,
        data=[_shape(hit, origin.revision) for hit in hits],
    )


def _shape(hit: Hit, revision: str) -> HitShape:
    passage = hit.passage
    return HitShape(
        passage_id=passage.passage_id,
        document_id=passage.document_id,
        revision=revision,
        title=passage.title,
        headings=passage.headings,
        text=passage.text,
        start_line=passage.start_line,
        end_line=passage.end_line,
        valid_from=passage.valid_from,
        valid_until=passage.valid_until,
        score=hit.score,
        bm25=hit.bm25,
        cosine=hit.cosine,
        rerank=hit.rerank,
        near_duplicates=list(hit.near_duplicates),
    )
