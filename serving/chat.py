"""POST /v1/chat/completions: the route itself. What it calls stands in conversation, errands and
chat_answers.
"""

import asyncio
import secrets
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from serving import chat_answers
from serving.answers import Asked, Given, choose_seat
from serving.auth import Key
from serving.chat_shapes import ChatCompletion, ChatRequest
from serving.conversation import question_of, refuse_unsupported, rung_of, sticky_key
from serving.errands import Errand
from serving.problems import ErrorBody, OverloadProblem
from serving.rollout import copy_for_challenger
from serving.state import Gateway, GatewayPart, RequestId

router = APIRouter(prefix="/v1", tags=["chat"])
_ERRORS = (400, 401, 404, 503, 504)


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses={status: {"model": ErrorBody} for status in _ERRORS},
    summary="Answer a question from the documents (OpenAI's protocol)",
)
async def create_chat_completion(
    body: ChatRequest, request: Request, gateway: GatewayPart, key: Key, request_id: RequestId
) -> Response:
    """Models: `palier` climbs the release's cascade, `palier-<rung>` asks one rung.

    With `stream: true` the answer comes as server-sent events; `palier` and `usage` are in the last chunk.
    `palier.saved_usd` and `palier.reference_cost_usd` are estimates.
    """
    refuse_unsupported(body)
    asked_at = datetime.now(UTC)
    question, rung = question_of(body.messages, asked_at.date()), rung_of(body.model)
    if "x-request-id" in request.headers:
        request.state.request_id = request_id = await _free_request_id(gateway, request_id)
    asked = Asked(
        request_id=request_id,
        key_id=key.key_id,
        sticky_key=sticky_key(body, key.key_id),
        question=question,
        asked_at=asked_at,
        rung=rung,
    )
    return _response(body, *await answer(gateway, request, asked))


async def answer(gateway: Gateway, request: Request, asked: Asked) -> tuple[Asked, Given]:
    """What was asked, under the id of its row, and the answer of the arm that the rollout assigns. Whatever came of it,
    ``request`` has the row's id, and a shadow gets its copy; not of what the desk turns away, which has no row to be
    compared with.
    """
    served = gateway.releases.served
    seat = choose_seat(served, asked.sticky_key, asked.rung)
    errand = Errand(asked, seat, gateway.records, gateway.metrics, gateway.answers)
    is_turned_away = False
    try:
        given = await gateway.desk.run(errand)
    except OverloadProblem:
        is_turned_away = True
        raise
    finally:
        request.state.request_id = errand.asked.request_id
        if not is_turned_away:
            gateway.shadows.offer(copy_for_challenger(errand.asked, seat, served))
    return errand.asked, given


def _response(body: ChatRequest, asked: Asked, given: Given) -> Response:
    headers = chat_answers.headers(given)
    if not body.stream:
        whole = chat_answers.completion(asked, given, body.model)
        return Response(whole.model_dump_json(), media_type="application/json", headers=headers)
    include_usage = body.stream_options is not None and body.stream_options.include_usage
    events = chat_answers.events(asked, given, body.model, include_usage=include_usage)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers | {"cache-control": "no-cache"})


async def _free_request_id(gateway: Gateway, request_id: str) -> str:
    """The id, or a longer one where the ledger has it already: two answers must not share a row.

    Ids of our own making are new by construction; only those that a caller sends are looked up, ours among them: they
    stand on every answer, and clients send them again. Of requests that come at once none has its row yet: the ledger
    parts them as it stores them. Looking here as well gives the right id to what its caller will not wait for.
    """
    known = await asyncio.to_thread(gateway.records.request, request_id)
    return request_id if known is None else f"{request_id}.{secrets.token_hex(4)}"
