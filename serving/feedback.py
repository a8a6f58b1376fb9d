"""POST /v1/feedback: what a person thinks of an answer; later runs learn from it."""

import asyncio
from datetime import UTC, datetime
from typing import Literal, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.auth import ADMIN, Key
from serving.problems import ErrorBody, NotFoundProblem
from serving.state import GatewayPart

router = APIRouter(prefix="/v1", tags=["feedback"])


class FeedbackRequest(BaseModel):
    """At least one of ``rating`` (1 good, -1 bad) and ``correction`` (what the answer should have been)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"request_id": "req-019a…", "rating": -1, "correction": "On Sunday from 12:00 to 22:30."}]
        }
    )
    request_id: str = Field(
        min_length=1, max_length=80, pattern=r"^[!-~]+$", description="The x-request-id of the answer."
    )
    rating: Literal[-1, 1] | None = None
    correction: str | None = Field(default=None, min_length=1, max_length=4000)
    comment: str | None = Field(default=None, max_length=4000)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.rating is None and self.correction is None:
            raise ValueError("give a `rating` (1 or -1), a `correction`, or both")
        if self.correction is not None and not self.correction.strip():  # it would replace an earlier one
            raise ValueError("the `correction` is blank: say what the answer should have been, or leave it out")
        return self


class FeedbackStored(BaseModel):
    request_id: str
    status: Literal["stored"] = "stored"


@router.post(
    "/feedback",
    status_code=201,
    responses={status: {"model": ErrorBody} for status in (400, 401, 404)},
    summary="Rate or correct an answer",
)
async def store_feedback(body: FeedbackRequest, gateway: GatewayPart, key: Key) -> FeedbackStored:
    """Only the key that asked (or one with the scope `admin`) may judge an answer.

    Corrections are learned from where the documents say so too; personal data is taken out first. Comments are for
    people: nothing learns from them.
    """
    row = await asyncio.to_thread(gateway.records.request, body.request_id)
    if row is None or (row.key_id != key.key_id and ADMIN not in key.scopes):
        raise NotFoundProblem(
            f"This key has no request {body.request_id!r}: it is the x-request-id of an answer.",
            param="request_id",
        )
    if not row.question:  # an empty question is never answered: this one's texts were erased
        raise NotFoundProblem(f"The texts of request {body.request_id!r} were erased.", param="request_id")
    await asyncio.to_thread(
        gateway.records.add_feedback,
        body.request_id,
        key.key_id,
        body.rating,
        body.correction,
        body.comment,
        datetime.now(UTC),
    )
    return FeedbackStored(request_id=body.request_id)
