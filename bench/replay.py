"""`palier bench replay`: the whole gateway climbs over real recorded answers, and every nano-dollar is accounted for.

    palier bench replay --data OUTCOMES.parquet --queries QUERIES.parquet --questions 2000 --out FILE.json

A replay endpoint (`bench.replay_endpoint`) answers for every model of the file, at a price list of its own. In a
workspace of its own, the outcomes of the other questions are taken as recorded, at that price list; scorer and cascade
are learnt from them, packaged, founded as a release, and served by a gateway in a process of its own (`retrieval:
none`). Then the held-out questions are asked over HTTP, and three things are compared: the ledger with what the
endpoint charged, question by question; saving and quality with what `tune-cascade` promised before; and each answer
with what the offline evaluation said that the cascade would do. The ladder's top, which savings are held against, is
the best single model of the questions that are learnt from; models dearer than it stay off the ladder.

What was promised is a mean with an interval; a mean over N new questions has chance of its own. `within` says whether
the two differ by no more than both kinds of chance together explain in 95 of 100 cases; `within_promise_alone` takes
the new questions' mean for exact. Quality is the file's own label of the answer that was given. Public data of this
form: see `palier bench cascade --help`.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.replay_endpoint import (
    Endpoint,
    Misbehaviour,
    PriceList,
    count_tokens,
    derived_prices,
    read_prices,
    read_tables,
    recording_of,
    run_endpoint,
)
from bench.replay_workspace import (
    MARGIN,
    PROMPT,
    Split,
    draw_split,
    found_release,
    ladder_models,
    prompt_tokens,
    replay_params,
    served,
    write_inputs,
)
from bench.report import Report, metric, tell
from palier.adapters.records import Records
from palier.adapters.workspace import Workspace, read_json
from palier.domain.money import NANOUSD_PER_USD
from palier.errors import InputError, ServiceError

N_CLIENTS = 4
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answered:
    """What came back over HTTP for one question; ``rung`` and ``correct`` are None for an error."""

    query_id: str
    status: int
    rung: str | None = None
    abstained: bool = False
    cost_nanousd: int = 0
    request_id: str = ""
    seconds: float = 0.0
    error: str = ""


def run(
    outcomes: Path,
    queries: Path | None,
    out: Path,
    *,
    questions: int = 2000,
    max_questions: int | None = None,
    prices: Path | None = None,
    error_rate: float = 0.0,
    seed: int = 7,
) -> dict[str, Any]:
    """Measure and write the JSON; ``max_questions`` bounds the questions that are learnt from.

    Raises InputError for files in another form, and ServiceError when the gateway does not become ready.
    """
    if outcomes is None or queries is None:
        raise InputError("`bench replay` needs --data OUTCOMES.parquet and --queries QUERIES.parquet.")
    rng = np.random.default_rng(seed)
    said, asked = read_tables(outcomes, queries)
    split = draw_split(said, asked, questions, max_questions, rng)
    listed = read_prices(prices) if prices else derived_prices(said, asked)
    told = {"questions": len(split.test_ids), "max_questions": max_questions, "margin": MARGIN, "seed": seed}
    report = Report("replay", {**told, "clients": N_CLIENTS, "error_rate": error_rate, "prompt": PROMPT})
    report.add_data(outcomes, len(said))
    report.add_data(queries, len(asked))
    misbehaviour = Misbehaviour(error_rate=error_rate, refuses=("logprobs",), seed=seed)
    with tempfile.TemporaryDirectory(prefix="palier-replay-") as folder:
        workspace = Workspace(Path(folder) / "workspace")
        params = replay_params(split, listed)
        write_inputs(workspace, split, listed)
        seconds = found_release(params, workspace, Path(folder) / "state")
        with (
            run_endpoint(Endpoint(recording_of(split.said, split.asked), listed, misbehaviour)) as endpoint,
            served(Path(folder) / "state", endpoint.url) as (url, records),
        ):
            answered, wall = _ask_all(url, records, split)
            results = _results(workspace, endpoint, records, answered, rng)
    results |= {"seconds": {**seconds, "asking": round(wall, 1)}, "price_list": _told_prices(listed, split)}
    results["ladder"] = ladder_models(split)
    return report.write(out, results)


def _ask_all(url: str, records: Records, split: Split) -> tuple[list[Answered], float]:
    """Every test question once, from a few clients at a time."""
    _, key = records.create_key("bench replay", ["ask"], _now())
    test = split.asked[split.asked["split"] == "test"]
    pairs = list(zip(test["query_id"].astype(str), test["query"], strict=True))
    started = time.perf_counter()
    limits = httpx.Limits(max_connections=N_CLIENTS)
    headers = {"authorization": f"Bearer {key}"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60, limits=limits) as client,
        ThreadPoolExecutor(N_CLIENTS) as pool,
    ):
        answered = []
        for one in pool.map(lambda pair: _ask(client, *pair), pairs):
            answered.append(one)
            if len(answered) % max(1, len(pairs) // 10) == 0:
                tell(f"asked {len(answered)}/{len(pairs)}")
    return answered, time.perf_counter() - started


def _ask(client: httpx.Client, query_id: str, text: str) -> Answered:
    started = time.perf_counter()
    body = {"model": "palier", "messages": [{"role": "user", "content": text}]}
    reply = client.post("/v1/chat/completions", json=body)
    seconds, request_id = time.perf_counter() - started, reply.headers.get("x-request-id", "")
    if reply.status_code != 200:
        return Answered(query_id, reply.status_code, request_id=request_id, seconds=seconds, error=reply.text[:300])
    palier = reply.json()["palier"]
    cost = round(palier["cost_usd"] * NANOUSD_PER_USD)
    return Answered(query_id, 200, palier["rung"], palier["abstained"], cost, request_id, seconds)


def _results(
    workspace: Workspace,
    endpoint: Endpoint,
    records: Records,
    answered: Sequence[Answered],
    rng: np.random.Generator,
) -> dict[str, Any]:
    chosen = read_json(workspace.cascade / "cascade.json", "tune-cascade")
    ledger = {row.request_id: row.cost_nanousd for row in records.requests(limit=10 * len(answered))}
    outcomes = pd.read_parquet(workspace.outcomes / "outcomes.parquet").set_index(["query_id", "model"])
    given = [one for one in answered if one.status == 200]
    if not given:
        raise ServiceError(f"The gateway answered none of {len(answered)} questions: {answered[0].error}")
    quality = [0.0 if one.abstained else float(outcomes.at[(one.query_id, one.rung), "correct"]) for one in given]
    cost = np.array([one.cost_nanousd for one in given], dtype=np.float64)
    reference = [float(outcomes.at[(one.query_id, chosen["reference_rung"]), "cost_nanousd"]) for one in given]
    milliseconds = [1000 * one.seconds for one in given]
    return {
        "ledger": compared_ledger(ledger, endpoint, answered),
        "promise": compared_promise(chosen, quality, cost, np.array(reference), rng),
        "offline": _compared_offline(workspace, given),
        "cascade": {name: chosen[name] for name in ("cascade", "status", "reference_rung", "guarantee", "reason")},
        "answers": {
            "asked": len(answered),
            "failed": len(answered) - len(given),
            "first_errors": [one.error for one in answered if one.error][:3],
            "abstained": sum(one.abstained for one in given),
            "by_rung": {str(k): int(v) for k, v in pd.Series([one.rung for one in given]).value_counts().items()},
            "ms_p50": round(float(np.percentile(milliseconds, 50)), 2),
            "ms_p95": round(float(np.percentile(milliseconds, 95)), 2),
        },
        "scorer": read_json(workspace.scorer / "metrics.json", "train-scorer"),
    }


def compared_ledger(ledger: Mapping[str, int], endpoint: Endpoint, answered: Sequence[Answered]) -> dict[str, Any]:
    """The gateway's books against the endpoint's, in whole nano-dollars, in sum and question by question."""
    charged: dict[str, int] = {}
    for charge in endpoint.charges:
        charged[charge.query_id] = charged.get(charge.query_id, 0) + charge.nanousd
    booked = {one.query_id: ledger.get(one.request_id, 0) for one in answered}
    told = {one.query_id: one.cost_nanousd for one in answered}
    return {
        "ledger_nanousd": sum(booked.values()),
        "charged_nanousd": endpoint.total_nanousd,
        "difference_nanousd": sum(booked.values()) - endpoint.total_nanousd,
        "equal": sum(booked.values()) == endpoint.total_nanousd,
        "questions_that_differ": sum(booked[key] != charged.get(key, 0) for key in booked),
        "answers_that_differ_from_ledger": sum(booked[key] != told[key] for key in booked),
        "paid_calls": len(endpoint.charges),
        "refused_calls": endpoint.n_refused,
        "failed_calls": endpoint.n_failed,
    }


def compared_promise(
    chosen: Mapping[str, Any],
    quality: Sequence[float],
    cost: Floats,
    reference_cost: Floats,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Quality, cost and saving of the new questions beside what was expected of them before."""
    expected = chosen["expected"]
    told: dict[str, Any] = {"reference_rung": chosen["reference_rung"]}
    if "quality" not in expected:  # the reference alone: nothing was promised beyond it
        return told | {"quality": metric(list(quality), rng), "cost_nanousd": metric(cost.tolist(), rng)}
    told["quality"] = _beside(expected["quality"], np.asarray(quality, dtype=np.float64), rng)
    told["cost_nanousd"] = _beside(expected["cost_nanousd"], cost, rng)
    paid = expected["cost_nanousd"]
    per_reference = chosen["reference_cost_nanousd"]
    rows = rng.integers(0, len(cost), (1000, len(cost)))
    drawn = 1 - cost[rows].sum(axis=1) / reference_cost[rows].sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    promised = {name: 1 - paid[end] / per_reference for name, end in (("value", "value"), ("low", "high"))}
    promised["high"] = 1 - paid["low"] / per_reference
    told["saving"] = _verdict(
        promised, {"value": float(1 - cost.sum() / reference_cost.sum()), "low": float(low), "high": float(high)}
    )
    return told


def _beside(expected: Mapping[str, float], values: Floats, rng: np.random.Generator) -> dict[str, Any]:
    found = {name: float(value) for name, value in metric(values.tolist(), rng).items() if value is not None}
    return _verdict(expected, found)


def _verdict(promised: Mapping[str, float], found: Mapping[str, float]) -> dict[str, Any]:
    """Whether both means may be one: their distance against the half widths of both intervals, added as squares."""
    distance = abs(found["value"] - promised["value"])
    allowed = (((promised["high"] - promised["low"]) / 2) ** 2 + ((found["high"] - found["low"]) / 2) ** 2) ** 0.5
    return {
        "promised": {name: round(promised[name], 6) for name in ("value", "low", "high")},
        "found": {name: round(found[name], 6) for name in ("value", "low", "high")},
        "within": bool(distance <= allowed),
        "within_promise_alone": bool(promised["low"] <= found["value"] <= promised["high"]),
    }


def _compared_offline(workspace: Workspace, given: Sequence[Answered]) -> dict[str, Any]:
    """Each answer beside what `evaluate-release` said that the cascade would do."""
    offline = pd.read_parquet(workspace.evaluation / "answers.parquet").set_index("query_id")
    rows = [(one, offline.loc[one.query_id]) for one in given]
    return {
        "compared": len(rows),
        "another_rung": sum(one.rung != row["rung"] for one, row in rows),
        "another_cost": sum(one.cost_nanousd != int(row["cost_nanousd"]) for one, row in rows),
    }


def _told_prices(listed: PriceList, split: Split) -> dict[str, Any]:
    """The price list, and how its mean cost per question compares with the recorded one."""
    models = {}
    joined = split.said.merge(split.asked[["query_id", "query"]], on="query_id")
    for model, rows in joined.groupby("model"):
        into, out = listed.usd_per_million[str(model)]
        charged = [
            listed.charge_nanousd(str(model), prompt_tokens(query, listed), count_tokens(str(answer or "")))
            for query, answer in zip(rows["query"], rows["answer"], strict=True)
        ]
        models[str(model)] = {
            "input_usd_per_million": float(into),
            "output_usd_per_million": float(out),
            "mean_cost_usd": round(float(np.mean(charged)) / NANOUSD_PER_USD, 9),
            "mean_recorded_cost_usd": round(float(rows["cost_usd"].mean()), 9),
            "quality": round(float(rows["correct"].mean()), 4),
        }
    return {"fixed_prompt_tokens": listed.fixed_prompt_tokens, "models": models}


def _now() -> datetime:
    return datetime.now(UTC)
