"""POST /v1/search: the passages that an answer would rest on, without an answer."""

from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from palier.domain.answering import Hit, Origin, Question, origin_of
from palier.domain.documents import Lang
from palier.domain.language import detect_language
from serving.answers import choose_seat
from serving.auth import Key
from serving.conversation import MAX_QUESTION_CHARS
from serving.desk import Call
from serving.problems import ErrorBody
from serving.releases import Release
from serving.state import GatewayPart

router = APIRouter(prefix="/v1", tags=["search"])


class SearchRequest(BaseModel):
    """``language`` is detected where it is not given."""

    query: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS, examples=["delivery fee on Sundays"])
    k: int = Field(default=10, ge=1, le=100)
    language: Lang | None = None


class HitShape(BaseModel):
    """One passage; ``score`` is fused and in 0..1, ``bm25`` and ``cosine`` are null where that search
    missed it.
    """

    passage_id: str
    document_id: str
    revision: str
    title: str
    headings: str
    text: str
    start_line: int
    end_line: int
    score: float
    bm25: float | None
    cosine: float | None


class SearchAnswer(BaseModel):
    """Passages, best first, and which index they came from."""

    object: Literal["list"] = "list"
    release_id: str
    index: str
    language: Lang
    data: list[HitShape]


@router.post(
    "/search",
    responses={status: {"model": ErrorBody} for status in (400, 401, 503)},
    summary="Find passages",
)
async def search_passages(body: SearchRequest, response: Response, gateway: GatewayPart, key: Key) -> SearchAnswer:
    """Hybrid search (BM25 and vectors) in the index of the release that answers this key."""
    question = Question(body.query, body.language or detect_language(body.query))
    release = choose_seat(gateway.releases.served, key.key_id, rung=None).release
    hits = await gateway.desk.run(Call(lambda: release.retriever.search(question, body.k)))
    response.headers["x-palier-release"] = release.manifest.release_id
    return _answer(release, question, hits)


def _answer(release: Release, question: Question, hits: Sequence[Hit]) -> SearchAnswer:
    manifest = release.manifest
    origin = origin_of(hits, Origin(manifest.index, manifest.corpus_revision))
    return SearchAnswer(
        release_id=manifest.release_id,
        index=origin.index,
        language=question.lang,
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
        score=hit.score,
        bm25=hit.bm25,
        cosine=hit.cosine,
    )
