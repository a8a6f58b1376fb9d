"""`palier init`, `palier doctor`, `palier bench`: a workspace to start from, what is missing, and the benchmarks."""

import importlib
import inspect
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from palier.adapters.services.processes import is_port_free
from palier.adapters.versioning import init_workspace
from palier.commands.context import JsonOption, show
from palier.errors import InputError
from palier.settings import Settings, repository_root

app = typer.Typer()
BENCHMARKS = (
    "retrieval",
    "crosslingual",
    "vectors",
    "answers",
    "cascade",
    "replay",
    "economy",
    "rollout",
    "swap",
    "scale",
    "guard",
    "scorer",
    "rounding",
    "tuning",
    "readers",
)


@app.command()
def init(
    folder: Path,
    documents: Annotated[Path | None, typer.Option(help="Copy this folder of documents in.")] = None,
    golden: Annotated[Path | None, typer.Option(help="Copy this folder of golden questions in.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make FOLDER a workspace: git and DVC, params.yaml and dvc.yaml, folders for documents and golden questions."""
    make_workspace(folder, documents, golden)
    text = f"Workspace at {folder}. Put documents into {folder / 'documents'}/<language>/, then run `palier run`."
    show({"workspace": str(folder.resolve())}, as_json, text)


def make_workspace(folder: Path, documents: Path | None, golden: Path | None) -> None:
    """`init` without words; InputError when the sources are not folders or the workspace is there."""
    for source in (documents, golden):
        if source is not None and not source.is_dir():
            raise InputError(f"{source} is not a folder.")
    init_workspace(folder, repository_root())
    for source, name in ((documents, "documents"), (golden, "golden")):
        if source is not None:
            shutil.copytree(source, folder / name, dirs_exist_ok=True)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Look at this machine: tools, ports, models, disk; say what is missing and how to get it."""
    findings = _findings(Settings())
    lines = [f"{'ok  ' if finding['ok'] else 'FIX '} {finding['what']}" for finding in findings]
    show(findings, as_json, "\n".join(lines))
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(1)


@app.command()
def bench(
    name: str,
    out: Annotated[Path, typer.Option(help="Where the JSON goes.")],
    data: Annotated[list[Path] | None, typer.Option(help="Input files; repeatable (scale: folders too).")] = None,
    queries: Annotated[Path | None, typer.Option(help="Query rows (cascade, replay).")] = None,
    questions: Annotated[int | None, typer.Option(help="Asked over HTTP (replay).", min=50)] = None,
    prices: Annotated[Path | None, typer.Option(help="A price list in JSON (replay).")] = None,
    lang: Annotated[str | None, typer.Option(help="en or fr (retrieval, vectors, answers).")] = None,
    max_questions: Annotated[int | None, typer.Option(help="A sample instead of all questions.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Split seeds (cascade).")] = None,
    swaps: Annotated[int | None, typer.Option(help="How often the alias moves (swap).", min=1)] = None,
    queries_per_s: Annotated[float | None, typer.Option(help="Questions per second meanwhile (swap).", min=0.1)] = None,
    encoder: Annotated[Path | None, typer.Option(help="An int8 encoder's folder (retrieval, …).")] = None,
    reranker: Annotated[Path | None, typer.Option(help="An int8 reranker's folder (retrieval, scale).")] = None,
    reader: Annotated[Path | None, typer.Option(help="Another reader's starter folder (readers).")] = None,
    asked_titles: Annotated[
        str | None,
        typer.Option("--titles", "--asked-titles", help="Articles: train, validation, test or all (retrieval, …)."),
    ] = None,
    rungs: Annotated[list[str] | None, typer.Option(help="Only these rungs; repeatable (answers).")] = None,
    workspaces: Annotated[
        list[Path] | None, typer.Option("--workspace", help="Tuned ones; repeatable (tuning).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Also tune on the samples (crosslingual).", min=1)] = None,
    max_passages: Annotated[int | None, typer.Option(help="Stop at so many passages (scale).", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop growing after so many minutes (scale).")] = None,
    latency: Annotated[bool, typer.Option(help="Also time questions on one core (scale).")] = False,
    merge: Annotated[bool, typer.Option(help="At the end, merge the index and measure again (scale).")] = False,
    seed: int = 7,
) -> None:
    """Run the benchmark NAME and write the contract's JSON.

    There are retrieval, crosslingual, vectors, answers, cascade, replay, economy, rollout, swap, scale, guard, scorer,
    rounding, tuning, readers.
    """
    if name not in BENCHMARKS:
        raise InputError(f"No benchmark {name!r}. There are: {', '.join(BENCHMARKS)}.")
    missing = [path for path in [*(data or []), *([queries] if queries else [])] if not path.exists()]
    if missing:
        raise InputError(f"No file {missing[0]}.")
    run = importlib.import_module(f"bench.{name}").run
    given = {
        "data": data or [],
        "outcomes": data[0] if data else None,
        "queries": queries,
        "questions": questions,
        "prices": prices,
        "out": out,
        "lang": lang,
        "max_questions": max_questions,
        "seeds": seeds,
        "swaps": swaps,
        "queries_per_s": queries_per_s,
        "seed": seed,
        "encoder_folder": encoder,
        "reranker_folder": reranker,
        "other_reader": reader,
        "asked_titles": asked_titles,
        "rungs": rungs,
        "workspaces": workspaces,
        "epochs": epochs,
        "max_passages": max_passages,
        "minutes": minutes,
        "latency": latency,
        "merge": merge,
        "search_url": Settings().search_url,
    }
    run(**_accepted(run, given))
    print(out)


def _accepted(run: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Of what the command line gave, what this benchmark takes; its own defaults fill what was not given."""
    parameters = inspect.signature(run).parameters
    chosen = {name: value for name, value in given.items() if name in parameters}
    return {
        name: value
        for name, value in chosen.items()
        if value is not None or parameters[name].default is inspect.Parameter.empty
    }


def _findings(settings: Settings) -> list[dict[str, Any]]:
    from palier.adapters.catalogue import load_catalogue, resolve
    from palier.errors import PalierError

    found = [_finding(shutil.which("git") is not None, "git (apt-get install git)")]
    found.append(_finding(sys.version_info[:2] == (3, 11), f"Python 3.11 (this is {sys.version.split()[0]})"))
    for name in load_catalogue():
        try:
            resolve(name, cache=settings.state_dir / "models", hub_url=settings.hub_url)
            found.append(_finding(True, f"model {name}"))
        except PalierError as error:
            found.append(_finding(False, f"model {name}: {error}"))
    for service, port in _ports(settings).items():
        state = "free" if is_port_free(port) else "in use (ours, or see `palier services status`)"
        found.append(_finding(True, f"port {port} for {service}: {state}"))
    there = next(folder for folder in settings.state_dir.resolve().parents if folder.is_dir())
    free_gb = shutil.disk_usage(there).free / 1e9
    found.append(_finding(free_gb > 5, f"{free_gb:.0f} GB of disk free (5 are needed)"))
    return found


def _finding(ok: bool, what: str) -> dict[str, Any]:
    return {"ok": ok, "what": what}


def _ports(settings: Settings) -> dict[str, int]:
    return {
        "gateway": settings.gateway_port,
        "airflow": settings.airflow_port,
        "mlflow": settings.mlflow_port,
        "search": settings.search_port,
    }
