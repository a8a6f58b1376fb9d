"""`palier index …`: which index is live, what came before it, and the way back."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from elasticsearch import Elasticsearch

from palier.adapters.index_fence import live_state, roll_back
from palier.adapters.search import connect, wait_ready
from palier.adapters.search_index import index_meta, index_sizes, indexes_of
from palier.commands.context import JsonOption, show, utc_now
from palier.settings import Settings

app = typer.Typer(help="The search index: what is live, and the way back.", no_args_is_help=True)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """The live index, the previous one and all others that are kept: passages, size, run, and how the gate found it."""
    settings = Settings()
    found = _status(_connect(settings), settings.index_alias)
    show(found, as_json, _describe(found))


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option(help="Another complete index; default: the previous one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the previous index live again, in one step.

    A build that began before cannot undo this. The next one can, of the same documents too: mend them first.
    """
    settings = Settings()
    client = _connect(settings)
    before = live_state(client, settings.index_alias).index
    now = roll_back(client, settings.index_alias, utc_now(), to)
    encoders = [_encoder(index_meta(client, index) if index else None) for index in (before, now.index)]
    result = {**asdict(now), "index": now.index, "before": before, "same_encoder": encoders[0] == encoders[1]}
    text = f"{now.index} is live again (run {now.token}); {now.previous or 'nothing'} is kept as the previous one."
    if encoders[0] != encoders[1]:
        text += "\nIt was built with another encoder: restart gateways, so that they ask with theirs."
    show(result, as_json, text)


def _connect(settings: Settings) -> Elasticsearch:
    key = settings.elasticsearch_api_key
    client = connect(settings.search_url, key.get_secret_value() if key else None)
    wait_ready(client, 5.0)
    return client


def _status(client: Elasticsearch, alias: str) -> dict[str, Any]:
    live, sizes = live_state(client, alias), index_sizes(client)
    metas = indexes_of(client, alias)
    rows = [_row(name, meta, live.index, live.previous, sizes.get(name, {})) for name, meta in metas.items()]
    return {
        "alias": alias,
        "token": live.token,
        "live": live.index,
        "previous": live.previous,
        "indexes": sorted(rows, key=lambda row: (row["built_at"] or "", row["index"]), reverse=True),
    }


def _row(
    name: str, meta: Mapping[str, Any], live: str | None, previous: str | None, size: Mapping[str, int]
) -> dict[str, Any]:
    gate = meta.get("gate")
    return {
        "index": name,
        "state": _state(meta, is_live=name == live, is_previous=name == previous),
        "revision": meta.get("revision"),
        "token": meta.get("token"),
        "built_at": meta.get("built_at"),
        "encoder_sha256": _encoder(meta),
        "n_passages": size.get("n_passages"),
        "bytes": size.get("bytes"),
        "gate": {key: value for key, value in gate.items() if key != "scores"} if gate else None,
    }


def _state(meta: Mapping[str, Any], *, is_live: bool, is_previous: bool) -> str:
    if is_live or is_previous:
        return "live" if is_live else "previous"
    if not meta.get("complete"):
        return "unfinished"
    return "refused" if meta.get("gate", {}).get("findings") else "kept"


def _encoder(meta: Mapping[str, Any] | None) -> str | None:
    sha256: str | None = (meta or {}).get("settings", {}).get("encoder_sha256")
    return sha256


def _describe(found: Mapping[str, Any]) -> str:
    lines = [f"alias {found['alias']}, last changed by run {found['token']}"]
    if not found["live"]:
        lines.append("nothing is live: run `palier build-index`")
    for row in found["indexes"]:
        size = f"{row['n_passages'] or 0} passages, {(row['bytes'] or 0) / 1e6:.1f} MB"
        lines.append(f"{row['state']:10} {row['index']}  {size}, run {row['token']}{_gate_words(row['gate'])}")
        lines += [f"{'':10}   {finding}" for finding in (row["gate"] or {}).get("findings", ())]
    return "\n".join(lines)


def _gate_words(gate: Mapping[str, Any] | None) -> str:
    quality = (gate or {}).get("quality") or {}
    return f", nDCG@10 {quality['new']:.3f} ({quality['n']} questions)" if quality.get("new") is not None else ""
