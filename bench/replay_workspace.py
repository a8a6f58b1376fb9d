"""A workspace founded on recorded outcomes, and the gateway that serves its release: what `bench.replay` asks.

Everything goes through the doors that a team uses (params, stages, bundle, records, the gateway's own process); only
MLflow and DVC are left out, since nothing is to be kept. Knows no measure.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import numpy as np
import pandas as pd

from bench.exported_models import exported_encoder
from bench.replay_endpoint import PriceList, count_tokens
from bench.report import git_sha, tell
from palier.adapters import release_commands
from palier.adapters.bundle_store import install_bundle
from palier.adapters.records import Records
from palier.adapters.release_commands import Candidate, Order
from palier.adapters.services import Supervisor, gateway_spec
from palier.adapters.workspace import Workspace
from palier.domain.answering import Question
from palier.domain.money import NANOUSD_PER_USD
from palier.domain.prompting import messages
from palier.domain.rollout import ReleaseRef
from palier.errors import InputError, ServiceError
from palier.params import Params, load_params, parse_params
from palier.settings import Settings, repository_root
from palier.stages import (
    evaluate_release,
    package_release,
    record_outcomes,
    train_scorer,
    tune_cascade,
    version_documents,
)

MAX_CHARS = 4000
"""The gateway refuses longer questions."""
PROMPT = "Answer the question. End with a sentence that says what the answer is."
MARGIN = 0.02
HEAVY_KEY = "replayed"


@dataclass(frozen=True)
class Split:
    """Questions to learn from and questions to ask; both with the outcomes of every model."""

    said: pd.DataFrame
    asked: pd.DataFrame
    test_ids: Sequence[str]


def draw_split(
    said: pd.DataFrame, asked: pd.DataFrame, n_test: int, n_learn: int | None, rng: np.random.Generator
) -> Split:
    """Questions that the gateway takes and that every model answered, drawn into two parts."""
    complete = said.groupby("query_id")["model"].nunique()
    whole = asked["query_id"].map(complete) == said["model"].nunique()
    usable = asked[whole & asked["query"].str.len().between(1, MAX_CHARS)]
    if len(usable) < n_test + 100:
        raise InputError(f"{len(usable)} usable questions; {n_test} to ask and 100 to learn from are needed.")
    order = rng.permutation(len(usable))
    n_kept = len(usable) if n_learn is None else min(len(usable), n_test + n_learn)
    kept = usable.iloc[order[:n_kept]].reset_index(drop=True)
    kept = kept.assign(split=np.where(np.arange(n_kept) < n_test, "test", "validation"))
    test_ids = kept.loc[kept["split"] == "test", "query_id"].astype(str).tolist()
    return Split(said[said["query_id"].isin(kept["query_id"])], kept, test_ids)


def replay_params(split: Split, listed: PriceList) -> Params:
    """The repository's params with one heavy rung per model of `ladder_models`, and without passages."""
    today = date.today()  # noqa: DTZ011 (the day that is written beside a price)
    rungs = {
        name: {
            "kind": "heavy",
            "provider": "openai",
            "model": model,
            "passages": 0,
            "max_new_tokens": 1000,
            "price": {"input_usd_per_million": float(into), "output_usd_per_million": float(out), "date": today},
        }
        for name, model in rung_names(ladder_models(split)).items()
        for into, out in [listed.usd_per_million[model]]
    }
    loaded = load_params(repository_root() / "params.yaml").model_dump()
    loaded |= {"retrieval": "none", "prompt": PROMPT, "ladder": {"cpu_usd_per_hour": 0.04, "rungs": rungs}}
    loaded["version_documents"] |= {"min_golden_questions": 0, "source": None}
    loaded["record_outcomes"] |= {
        "recorded": {"outcomes": "golden/outcomes.parquet", "queries": "golden/queries.parquet"},
        "judge": None,
    }
    loaded["tune_cascade"] |= {"margin": MARGIN, "budget_usd_per_1000": None}
    loaded["evaluate_release"] |= {"min_f1": 0.0}
    loaded["train_scorer"] |= {"starter": None}  # it was made on answers that rest on passages
    loaded["guard"] |= {"enabled": False}  # it would judge whether exam questions are about our documents
    return parse_params(loaded, "the replay benchmark")


def ladder_models(split: Split) -> list[str]:
    """The models that an owner would put on a ladder whose top is the best single one (on the questions to learn from):
    what is dearer than that, and worse, is left out, so that the reference is the best single model."""
    learnt = set(split.asked.loc[split.asked["split"] == "validation", "query_id"])
    means = split.said[split.said["query_id"].isin(learnt)].groupby("model")[["correct", "cost_usd"]].mean()
    limit = means.loc[means["correct"].idxmax(), "cost_usd"]
    return sorted(str(model) for model in means.index[means["cost_usd"] <= limit])


def rung_names(models: Sequence[str]) -> dict[str, str]:
    """Names that can stand in a model name of the gateway (`palier-<rung>`), each with its model."""
    names: dict[str, str] = {}
    for model in models:
        plain = "".join(sign if sign.isalnum() or sign in "._" else "-" for sign in model.split("/")[-1])
        names[plain if plain not in names else f"{plain}-{len(names)}"] = model
    return names


def write_inputs(workspace: Workspace, split: Split, listed: PriceList) -> None:
    """What a team would lay into its workspace: outcomes at the prices that it pays, and the questions."""
    workspace.golden.mkdir(parents=True)
    workspace.documents.mkdir()
    joined = split.said.merge(split.asked[["query_id", "query"]], on="query_id")
    charged = [
        listed.charge_nanousd(str(model), prompt_tokens(str(query), listed), count_tokens(str(answer or "")))
        for model, query, answer in zip(joined["model"], joined["query"], joined["answer"], strict=True)
    ]
    priced = joined.assign(cost_usd=np.array(charged) / NANOUSD_PER_USD).drop(columns="query")
    priced.to_parquet(workspace.golden / "outcomes.parquet", index=False)
    split.asked.to_parquet(workspace.golden / "queries.parquet", index=False)


def prompt_tokens(question: str, listed: PriceList) -> int:
    """What the endpoint will count for the messages that a heavy rung sends."""
    chat = messages(PROMPT, Question(question, "en"), ())
    return count_tokens("".join(message["content"] for message in chat)) + listed.fixed_prompt_tokens


def found_release(params: Params, workspace: Workspace, state: Path) -> dict[str, float]:
    """All stages from recorded outcomes to a founded release; seconds of each."""
    root, settings = workspace.root, Settings(state_dir=state)
    encoder = exported_encoder(params.train_encoder.base, params.train_encoder.starter)
    workspace.encoder.parent.mkdir(parents=True)
    workspace.encoder.symlink_to(encoder.resolve(), target_is_directory=True)
    steps: dict[str, Callable[[], object]] = {
        "version_documents": lambda: version_documents.run(params, root),
        "record_outcomes": lambda: record_outcomes.run(params, root, settings, _progress),
        "train_scorer": lambda: train_scorer.run(params, root, _progress),
        "tune_cascade": lambda: tune_cascade.run(params, root, _progress),
        "evaluate_release": lambda: evaluate_release.run(params, root, _progress),
        "package_release": lambda: package_release.run(params, root, git_sha=git_sha(repository_root()), now=_now()),
    }
    seconds = {}
    for name, step in steps.items():
        started = time.perf_counter()
        step()
        seconds[name] = round(time.perf_counter() - started, 1)
        tell(f"{name}: {seconds[name]} s")
    bundle, manifest = install_bundle(workspace.release, state / "releases")
    ref = ReleaseRef(manifest.release_id, str(bundle), manifest.corpus_revision, manifest.created_at)
    evaluation = {name: interval.model_dump() for name, interval in manifest.evaluation.items()}
    records = Records(settings.database_url)
    order = Order("bench replay", "", _now())
    release_commands.start(records, Candidate(ref, evaluation), params.evaluate_release, params.rollout, order)
    records.close()
    return seconds


@contextmanager
def served(state: Path, endpoint_url: str) -> Iterator[tuple[str, Records]]:
    """The gateway as a process of its own, ready; its address, and its records."""
    port = _free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PALIER_")},
        "PALIER_STATE_DIR": str(state),
        "PALIER_GATEWAY_PORT": str(port),
        "PALIER_HEAVY_URL": f"{endpoint_url}/v1",
        "PALIER_HEAVY_API_KEY": HEAVY_KEY,
        "OMP_NUM_THREADS": "1",
    }
    supervisor = Supervisor(state / "services")
    records = Records(Settings(state_dir=state).database_url)
    try:
        supervisor.up(gateway_spec(Path(sys.executable), repository_root(), port, environment))
        url = f"http://127.0.0.1:{port}"
        _wait_ready(url)
        yield url, records
    except ServiceError:
        tell("\n".join(supervisor.log_path("gateway").read_text(encoding="utf-8").splitlines()[-30:]))
        raise
    finally:
        supervisor.down("gateway")
        records.close()


def _wait_ready(url: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while (reply := httpx.get(f"{url}/readyz", timeout=10)).status_code != 200:
        if time.monotonic() > deadline:
            raise ServiceError(f"The gateway is not ready after {seconds:g} s: {reply.text[:500]}")
        time.sleep(0.3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _progress(done: int, total: int, what: str) -> None:
    if done == total:
        tell(f"{what}: {done}/{total}")


def _now() -> datetime:
    return datetime.now(UTC)
