"""Errors as HTTP answers: one table, and one body, the one that OpenAI's clients understand.

    PalierError
    └── Problem                 only the gateway raises these
        ├── UnauthenticatedProblem   401  no key, or one that is unknown or revoked
        ├── ForbiddenProblem         403  the key lacks a scope
        ├── BadRequestProblem        400  a body that is well-formed but asks for what we do not do
        ├── UnknownModelProblem      404
        ├── NotFoundProblem          404  a request id that is not this key's
        ├── OverloadProblem          503  the queue is full
        └── DeadlineProblem          504  no answer in time

FastAPI's own 422 body breaks OpenAI clients, so wrong bodies are 400 here, in this shape. Messages of errors that
were raised on purpose are passed on; those of accidents stay in the log, beside the request id.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from palier import errors

log = logging.getLogger(__name__)


class Problem(errors.PalierError):
    """An error that exists only between a caller and the gateway; ``param`` names the field that is wrong."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnauthenticatedProblem(Problem):
    """No API key, or one that is unknown or revoked."""


class ForbiddenProblem(Problem):
    """A valid key without the scope that the route asks for."""


class BadRequestProblem(Problem):
    """A body that is well-formed but asks for something that the gateway does not do."""


class UnknownModelProblem(Problem):
    """A model name that the release does not offer."""


class NotFoundProblem(Problem):
    """Nothing of this id that the key may see."""


class OverloadProblem(Problem):
    """More questions are waiting than the queue takes."""


class DeadlineProblem(Problem):
    """No answer within the time limit."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a class of errors becomes on the wire."""

    http: int
    type: str
    code: str
    retry_after_s: int | None = None


# The most specific class of an error's ancestry that stands here decides.
TABLE: dict[type[Exception], Status] = {
    UnauthenticatedProblem: Status(401, "invalid_request_error", "invalid_api_key"),
    ForbiddenProblem: Status(403, "permission_error", "missing_scope"),
    BadRequestProblem: Status(400, "invalid_request_error", "unsupported_value"),
    UnknownModelProblem: Status(404, "invalid_request_error", "model_not_found"),
    NotFoundProblem: Status(404, "invalid_request_error", "not_found"),
    OverloadProblem: Status(503, "server_error", "overloaded", retry_after_s=1),
    DeadlineProblem: Status(504, "server_error", "timeout"),
    errors.InputError: Status(400, "invalid_request_error", "invalid_input"),
    errors.NotReadyError: Status(503, "server_error", "not_ready", retry_after_s=5),
    errors.SearchError: Status(503, "server_error", "search_unavailable", retry_after_s=2),
    errors.ModelEndpointError: Status(503, "server_error", "model_endpoint_unavailable", retry_after_s=2),
    errors.ServiceError: Status(503, "server_error", "service_unavailable", retry_after_s=2),
    errors.RolloutError: Status(409, "invalid_request_error", "rollout_conflict"),
    SQLAlchemyError: Status(503, "server_error", "records_unavailable", retry_after_s=2),
    errors.PalierError: Status(500, "server_error", "internal_error"),
}
ACCIDENT = Status(500, "server_error", "internal_error")
INVALID_BODY = "invalid_body"
# Errors that the framework raises, and ours on its behalf while it reads a body.
_HTTP_CODES = {400: INVALID_BODY, 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


class ErrorDetail(BaseModel):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


def status_of(error: Exception) -> Status:
    """The row of the table for ``error``; an error that nobody planned is a 500."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), ACCIDENT)


def error_code(error: Exception) -> str:
    """What the ledger and the metrics call ``error``."""
    return status_of(error).code


def error_response(
    http: int, detail: ErrorDetail, retry_after_s: int | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An answer in OpenAI's error shape."""
    extra = dict(headers or {})
    if retry_after_s is not None:
        extra["retry-after"] = str(retry_after_s)
    if http == 401:
        extra["www-authenticate"] = "Bearer"
    return JSONResponse(ErrorBody(error=detail).model_dump(), http, headers=extra)


def accident_response() -> JSONResponse:
    """For an error that nobody planned: nothing of it leaves the house but the request id of the headers."""
    message = "The gateway failed on this request. Its log has the cause beside the x-request-id of this answer."
    return error_response(500, ErrorDetail(message=message, type=ACCIDENT.type, code=ACCIDENT.code))


def install(app: FastAPI) -> None:
    """Make every error of ``app`` answer in OpenAI's shape."""
    app.add_exception_handler(errors.PalierError, _answer_planned)
    app.add_exception_handler(SQLAlchemyError, _answer_records)
    app.add_exception_handler(RequestValidationError, _answer_invalid_body)
    app.add_exception_handler(HTTPException, _answer_http)


async def _answer_planned(_: Request, error: Exception) -> JSONResponse:
    status = status_of(error)
    if status.http >= 500:
        log.warning("%s: %s", status.code, error)
    param = error.param if isinstance(error, Problem) else None
    detail = ErrorDetail(message=str(error), type=status.type, param=param, code=status.code)
    return error_response(status.http, detail, status.retry_after_s)


async def _answer_records(_: Request, error: Exception) -> JSONResponse:
    """The database's own words hold SQL and addresses: they stay in the log."""
    log.error("records: %s", error)
    status = status_of(error)
    message = "The records (ledger, keys, releases) cannot be read or written now. Try again in a moment."
    detail = ErrorDetail(message=message, type=status.type, code=status.code)
    return error_response(status.http, detail, status.retry_after_s)


async def _answer_invalid_body(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    findings = error.errors()
    message = "; ".join(_finding(item) for item in findings[:5])
    fields = [item["loc"] for item in findings if item["type"] != "json_invalid"]  # whose place is a column of the text
    param = _place(fields[0]) if fields else None
    detail = ErrorDetail(message=message, type="invalid_request_error", param=param, code=INVALID_BODY)
    return error_response(400, detail)


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code)
    message = error.detail
    if error.status_code == 404:
        message = f"There is no {request.method} {request.url.path} here; see /docs for what there is."
    if error.status_code == 405:
        message = f"{request.url.path} does not take {request.method}; see /docs."
    detail = ErrorDetail(message=message, type="invalid_request_error", code=code)
    return error_response(error.status_code, detail, headers=dict(error.headers or {}))


def _finding(item: dict[str, Any]) -> str:
    if item["type"] == "json_invalid":
        return f"The body is not valid JSON ({item.get('ctx', {}).get('error', item['msg'])})."
    place = _place(item["loc"])
    if place is None:
        return "A JSON body is required." if item["type"] == "missing" else str(item["msg"])
    return f"{place}: {item['msg']}"


def _place(location: Sequence[str | int]) -> str | None:
    """``("body", "messages", 0, "content")`` as ``messages[0].content``."""
    parts = location[1:] if location and location[0] in ("body", "query", "path", "header") else location
    if not parts:
        return None
    # Pydantic names the branch of a union behind the field, as if it were a field too.
    named = [part for part in parts if part != "str" and not str(part).startswith("list[")]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named)
    return text.lstrip(".")
