"""A model endpoint that says what real models once said: OpenAI's chat protocol over recorded outcomes.

    python -m bench.replay_endpoint --data OUTCOMES.parquet --queries QUERIES.parquet --port 8123

Any outcome file of the contract's form with answer texts. It answers for each model that the file holds, whole or as a
stream, counts tokens as characters / 4, charges by a price list of its own (a JSON file, or derived from the recorded
costs) and keeps every charge in whole nano-dollars, with its own arithmetic (decimals; the gateway's are floats).
`GET /admin/charges` shows them. It can be told to be late, to fail, and to refuse request fields as newer models do.
What it was not recorded for is a 404 with a remedy, and costs nothing.

The price of the approach: a recorded answer does not depend on what else is in the prompt.
"""

import argparse
import asyncio
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from scipy.optimize import nnls

from palier.errors import InputError

CHARS_PER_TOKEN = 4
FIXED_PROMPTS = (0, 25, 50, 100, 200, 400, 800, 1200, 1600, 2400, 3200)
"""Tokens that every recorded call may have had beside its question; derived prices take the number that fits best."""
PRICE_STEP = Decimal("0.001")
"""USD per million tokens: a token then costs whole nano-dollars, and nothing is left to rounding."""


@dataclass(frozen=True)
class PriceList:
    """USD per million tokens (input, output) by model, and the tokens that each call carries beside its messages."""

    usd_per_million: Mapping[str, tuple[Decimal, Decimal]]
    fixed_prompt_tokens: int = 0

    def charge_nanousd(self, model: str, n_prompt: int, n_completion: int) -> int:
        """The price of one call; a dollar per million tokens is a thousand nano-dollars per token."""
        into, out = self.usd_per_million[model]
        return int((1000 * (n_prompt * into + n_completion * out)).to_integral_value(ROUND_HALF_EVEN))


@dataclass(frozen=True)
class Recording:
    """Recorded answers by question text and model, and the questions' ids."""

    answers: Mapping[str, Mapping[str, str]]
    query_ids: Mapping[str, str]
    models: tuple[str, ...]

    def question_in(self, prompt: str) -> str | None:
        """The recorded question that ``prompt`` is, or ends with after what was put before it."""
        text = prompt.strip()
        while text not in self.answers:
            _, cut, text = text.partition("\n\n")
            if not cut:
                return None
        return text


@dataclass(frozen=True)
class Misbehaviour:
    """How the endpoint differs from a perfect one; fields named in ``refuses`` are answered with OpenAI's 400."""

    latency_ms: float = 0.0
    error_rate: float = 0.0
    refuses: tuple[str, ...] = ()
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Charge:
    """One paid call."""

    query_id: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    nanousd: int


@dataclass
class Endpoint:
    """The running endpoint: its address, what it charged, and how often it refused or failed."""

    recording: Recording
    prices: PriceList
    misbehaviour: Misbehaviour = field(default_factory=Misbehaviour)
    url: str = ""
    charges: list[Charge] = field(default_factory=list)
    n_not_recorded: int = 0
    n_failed: int = 0
    n_refused: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.misbehaviour.seed)

    @property
    def total_nanousd(self) -> int:
        return sum(charge.nanousd for charge in self.charges)

    def fails_now(self) -> bool:
        """Whether the next call is one of those that fail."""
        return bool(self._rng.random() < self.misbehaviour.error_rate)

    def usage(self, messages: Sequence[Mapping[str, Any]], answer: str) -> tuple[int, int]:
        """Prompt and completion tokens of a call."""
        n_prompt = count_tokens("".join(str(message.get("content") or "") for message in messages))
        return n_prompt + self.prices.fixed_prompt_tokens, count_tokens(answer)


def count_tokens(text: str) -> int:
    """Characters / 4, rounded up: a stand-in for any tokenizer."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def read_tables(outcomes: Path, queries: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Outcomes and queries with texts; a question told twice stays once. InputError names what is missing."""
    said, asked = pd.read_parquet(outcomes), pd.read_parquet(queries)
    for table, path, columns in (
        (asked, queries, ("query_id", "query")),
        (said, outcomes, ("query_id", "model", "answer", "correct", "cost_usd")),
    ):
        missing = [name for name in columns if name not in table]
        if missing:
            raise InputError(f"{path.name} lacks {', '.join(missing)}: answers cannot be replayed without.")
    asked = asked.assign(query=asked["query"].astype(str).str.strip()).drop_duplicates("query")
    return said[said["query_id"].isin(asked["query_id"])], asked


def recording_of(said: pd.DataFrame, asked: pd.DataFrame) -> Recording:
    """What the endpoint answers with."""
    texts = dict(zip(asked["query_id"], asked["query"], strict=True))
    answers: dict[str, dict[str, str]] = {text: {} for text in asked["query"]}
    for row in said.itertuples(index=False):
        answers[texts[row.query_id]][str(row.model)] = str(row.answer or "")
    ids = {text: str(key) for key, text in texts.items()}
    return Recording(answers, ids, tuple(sorted(set(said["model"].astype(str)))))


def read_prices(path: Path) -> PriceList:
    """A JSON file: ``{"fixed_prompt_tokens": 0, "models": {NAME: {"input_usd_per_million": …, "output_…": …}}}``."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        models = {
            str(name): (Decimal(row["input_usd_per_million"]), Decimal(row["output_usd_per_million"]))
            for name, row in raw["models"].items()
        }
        return PriceList(models, int(raw.get("fixed_prompt_tokens", 0)))
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise InputError(f"{path.name} is no price list ({type(error).__name__}: {error}).") from error


def derived_prices(said: pd.DataFrame, asked: pd.DataFrame) -> PriceList:
    """Token prices under which the recorded costs come out best: least squares per model, no price below zero.

    How many tokens stood beside each question is not recorded; the same number is taken for all models.
    """
    joined = said.merge(asked[["query_id", "query"]], on="query_id")
    n_in, n_out = joined["query"].map(count_tokens).to_numpy(), joined["answer"].fillna("").map(count_tokens).to_numpy()
    cost, model = joined["cost_usd"].to_numpy(dtype=np.float64) * 1e6, joined["model"].astype(str).to_numpy()
    best: tuple[float, PriceList] | None = None
    for fixed in FIXED_PROMPTS:
        error, prices = 0.0, {}
        for name in sorted(set(model)):
            rows = model == name
            weights = 1.0 / max(1e-12, float(cost[rows].mean()))
            tokens = np.stack([fixed + n_in[rows], n_out[rows]], axis=1).astype(np.float64)
            found, residual = nnls(tokens * weights, cost[rows] * weights)
            error += residual**2
            prices[name] = (_rounded(found[0]), _rounded(found[1]))
        if best is None or error < best[0]:
            best = (error, PriceList(prices, fixed))
    assert best is not None
    return best[1]


def _rounded(usd_per_million: float) -> Decimal:
    return max(PRICE_STEP, Decimal(usd_per_million).quantize(PRICE_STEP))


@contextmanager
def run_endpoint(endpoint: Endpoint, port: int = 0) -> Iterator[Endpoint]:
    """The endpoint on loopback (a free port where none is told); stopped when the block ends."""
    config = uvicorn.Config(make_app(endpoint), host="127.0.0.1", port=port, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="replay-endpoint", daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise InputError(f"The replay endpoint does not start on port {port}: choose another one.")
        time.sleep(0.02)
    endpoint.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield endpoint
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def make_app(endpoint: Endpoint) -> FastAPI:
    """The three routes."""
    app = FastAPI(title="Recorded outcomes", openapi_url=None)

    @app.post("/v1/chat/completions", response_model=None)
    async def complete(request: Request) -> Response:
        body = await request.json()
        if endpoint.misbehaviour.latency_ms:
            await asyncio.sleep(endpoint.misbehaviour.latency_ms / 1000)
        return _answer(endpoint, body)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        rows = [{"id": name, "object": "model", "owned_by": "recorded"} for name in endpoint.recording.models]
        return {"object": "list", "data": rows}

    @app.get("/admin/charges")
    async def charges(detail: bool = False) -> dict[str, Any]:
        return told_charges(endpoint, detail=detail)

    return app


def told_charges(endpoint: Endpoint, *, detail: bool) -> dict[str, Any]:
    """Sums by model; with ``detail``, each charge."""
    by_model: dict[str, dict[str, int]] = {}
    for charge in list(endpoint.charges):
        row = by_model.setdefault(charge.model, {"requests": 0, "nanousd": 0})
        row["requests"] += 1
        row["nanousd"] += charge.nanousd
    told: dict[str, Any] = {
        "total_nanousd": endpoint.total_nanousd,
        "requests": len(endpoint.charges),
        "not_recorded": endpoint.n_not_recorded,
        "failed": endpoint.n_failed,
        "refused": endpoint.n_refused,
        "by_model": by_model,
    }
    return told | ({"charges": [asdict(charge) for charge in endpoint.charges]} if detail else {})


def _answer(endpoint: Endpoint, body: Mapping[str, Any]) -> Response:
    model, messages = str(body.get("model")), body.get("messages") or []
    for name in endpoint.misbehaviour.refuses:
        if name in body:
            endpoint.n_refused += 1
            return _error(
                400, f"Unsupported parameter: '{name}' is not supported with this model.", name, "unsupported"
            )
    if endpoint.fails_now():
        endpoint.n_failed += 1
        return _error(500, "This endpoint was told to fail now and then (error_rate).", None, "server_error")
    if model not in endpoint.recording.models:
        known = ", ".join(endpoint.recording.models)
        return _error(404, f"No outcome of the model {model!r} was recorded. There are: {known}.", "model", "no_model")
    prompt = str(messages[-1].get("content") or "") if messages else ""
    question = endpoint.recording.question_in(prompt)
    answer = endpoint.recording.answers[question].get(model) if question is not None else None
    if question is None or answer is None:
        endpoint.n_not_recorded += 1
        text = f"Nothing was recorded for {prompt[:80]!r}. Ask a question of the file, word for word, as last message."
        return _error(404, text, "messages", "not_recorded")
    n_prompt, n_completion = endpoint.usage(messages, answer)
    price = endpoint.prices.charge_nanousd(model, n_prompt, n_completion)
    endpoint.charges.append(Charge(endpoint.recording.query_ids[question], model, n_prompt, n_completion, price))
    usage = {"prompt_tokens": n_prompt, "completion_tokens": n_completion, "total_tokens": n_prompt + n_completion}
    return _reply(body, model, answer, usage, number=len(endpoint.charges))


def _reply(body: Mapping[str, Any], model: str, answer: str, usage: Mapping[str, int], *, number: int) -> Response:
    head = {"id": f"chatcmpl-replay-{number}", "created": int(time.time()), "model": model}
    if body.get("stream"):
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return StreamingResponse(_events(head, answer, usage if wants_usage else None), media_type="text/event-stream")
    message = {"role": "assistant", "content": answer}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": dict(usage)})


def _events(head: Mapping[str, Any], answer: str, usage: Mapping[str, int] | None) -> Iterator[bytes]:
    frame = {**head, "object": "chat.completion.chunk"}

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return f"data: {json.dumps({**frame, 'choices': choices, **more})}\n\n".encode()

    yield event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    for start in range(0, len(answer), 40):
        yield event([{"index": 0, "delta": {"content": answer[start : start + 40]}, "finish_reason": None}])
    yield event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if usage is not None:
        yield event([], usage=dict(usage))
    yield b"data: [DONE]\n\n"


def _error(status: int, message: str, param: str | None, code: str) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    headers = {"retry-after-ms": "10"} if status >= 500 else {}
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status, headers)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Answer with recorded outcomes, in OpenAI's protocol.")
    parser.add_argument("--data", type=Path, required=True, help="outcomes.parquet")
    parser.add_argument("--queries", type=Path, required=True, help="queries.parquet")
    parser.add_argument("--prices", type=Path, help="a price list (JSON); default: derived from the recorded costs")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--error-rate", type=float, default=0.0)
    parser.add_argument("--refuse", action="append", default=[], help="a request field to answer with 400; repeatable")
    given = parser.parse_args()
    said, asked = read_tables(given.data, given.queries)
    prices = read_prices(given.prices) if given.prices else derived_prices(said, asked)
    misbehaviour = Misbehaviour(given.latency_ms, given.error_rate, tuple(given.refuse))
    with run_endpoint(Endpoint(recording_of(said, asked), prices, misbehaviour), given.port) as endpoint:
        print(f"{endpoint.url}/v1 answers for {', '.join(endpoint.recording.models)}; charges at /admin/charges")
        threading.Event().wait()


if __name__ == "__main__":
    main()
