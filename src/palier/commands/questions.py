"""Commands around answers: ask, trace to the line it rests on, sum up what was spent, and the keys to ask with."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from unicodedata import normalize

import httpx
import typer

from palier.adapters.documents_folder import FORMATS
from palier.adapters.records import Records
from palier.adapters.runtime import read_manifest
from palier.adapters.search import connect, find_passage
from palier.adapters.workspace import json_lines
from palier.commands.context import JsonOption, show, utc_now, workspace_at_hand
from palier.domain.concatenation import joined, shared_cost, taken_apart
from palier.domain.money import NANOUSD_PER_USD, usd
from palier.errors import InputError, NotReadyError, ServiceError
from palier.settings import Settings

app = typer.Typer()
keys_app = typer.Typer(help="API keys of the gateway; only their hashes are stored.", no_args_is_help=True)
KEY_FILE = "local-api-key"


@app.command()
def ask(
    question: Annotated[str | None, typer.Argument(help="One question; or --file.")] = None,
    model: Annotated[str, typer.Option(help="`palier`, or one rung: `palier-reader` …")] = "palier",
    file: Annotated[
        Path | None, typer.Option(help='Many: JSON lines with "question", and an "id" if you like.')
    ] = None,
    batch: Annotated[int, typer.Option(help="So many questions of --file in one prompt.", min=1, max=50)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Ask the running gateway, and print answer, citations, cost and saving.

    With --file each answer is a JSON line. With --batch N the instructions are paid once for N questions, which share
    the cost; meant for `retrieval: none` (a search for N questions at once finds little) and for models that can
    count. A question that a reply leaves out is asked again alone.
    """
    if (question is None) == (file is None):
        raise InputError("Give one question, or --file FILE.jsonl.")
    if file is not None:
        _ask_file(Settings(), file, model, batch)
        return
    assert question is not None
    body = ask_gateway(Settings(), question, model)
    show(body, as_json, describe_answer(body))


def _ask_file(settings: Settings, file: Path, model: str, batch: int) -> None:
    """Answers of all questions of ``file`` on stdout, in order; what they cost on stderr."""
    rows = _questions_in(file)
    total = 0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        for row, told in zip(part, _ask_together(settings, [row["question"] for row in part], model), strict=True):
            total += told["cost_nanousd"]
            print(json.dumps({**row, **told}, ensure_ascii=False))
    print(f"{len(rows)} questions, {usd(total):.9f} USD", file=sys.stderr)


def _questions_in(file: Path) -> list[dict[str, Any]]:
    """The rows of ``file`` that ask something; raises InputError for what is not JSON lines of objects."""
    try:
        rows = [json.loads(line) for line in json_lines(file)]
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON lines: {error}.") from error
    if not all(isinstance(row, dict) for row in rows):
        raise InputError(f'Each line of {file} must be an object, as in {{"question": "..."}}.')
    return [row for row in rows if row.get("question")]


def _ask_together(settings: Settings, questions: Sequence[str], model: str) -> list[dict[str, Any]]:
    """Answer, rung, cost (shared) and request id of each question."""
    body = ask_gateway(settings, questions[0] if len(questions) == 1 else joined(questions), model)
    text = body["choices"][0]["message"]["content"]
    found = [text] if len(questions) == 1 else taken_apart(text, len(questions))
    costs = shared_cost(round(body["palier"]["cost_usd"] * NANOUSD_PER_USD), len(questions))
    told = []
    for question, answer, cost in zip(questions, found, costs, strict=True):
        if answer is None:
            (alone,) = _ask_together(settings, [question], model)
            told.append({**alone, "cost_nanousd": alone["cost_nanousd"] + cost})
        else:
            known = {"rung": body["palier"]["rung"], "request_id": body["request_id"]}
            told.append({"answer": answer, "cost_nanousd": cost, **known})
    return told


@app.command()
def trace(request_id: str, as_json: JsonOption = False) -> None:
    """Lead from an answer to its release, index, corpus revision and the lines of the files it rests on."""
    settings = Settings()
    row = Records(settings.database_url).request(request_id)
    if row is None:
        raise NotReadyError(f"No request {request_id!r} in the ledger. Its id is in the x-request-id header.")
    release = Records(settings.database_url).release(row.release_id or "")
    manifest = read_manifest(Path(release.bundle_path)) if release else None
    found = {
        "request_id": row.request_id,
        "at": row.created_at,
        "question": row.question,
        "answer": row.answer,
        "arm": row.arm,
        "rung": row.rung,
        "attempts": row.attempts,
        "cost_nanousd": row.cost_nanousd,
        "release_id": row.release_id,
        "git_sha": manifest.git_sha if manifest else None,
        "models": {name: model.version for name, model in manifest.models.items()} if manifest else {},
        "index": row.index,
        "sources": [_source(settings, row.index or "", citation) for citation in row.citations],
    }
    show(found, as_json, _describe_trace(found))


@app.command()
def usage(days: Annotated[int, typer.Option(help="How many days back.")] = 30, as_json: JsonOption = False) -> None:
    """Requests, cost and saving of the last days, from the ledger."""
    sums = Records(Settings().database_url).usage(since=utc_now() - timedelta(days=days))
    show(sums, as_json, "\n".join(f"{name}: {value}" for name, value in sums.items()))


@keys_app.command("create")
def create_key(
    name: str,
    scope: Annotated[list[str] | None, typer.Option(help="ask, admin; repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key; it is shown once."""
    records = Records(Settings().database_url)
    key, plaintext = records.create_key(name, scope or ["ask"], utc_now())
    show({"key_id": key.key_id, "key": plaintext}, as_json, f"{plaintext}\n(id {key.key_id}; shown only now)")


@keys_app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """All keys, without the secrets."""
    keys = Records(Settings().database_url).list_keys()
    lines = [f"{key.key_id}  {key.name}  {','.join(key.scopes)}  {key.revoked_at or 'valid'}" for key in keys]
    show(keys, as_json, "\n".join(lines) or "No keys yet: `palier keys create NAME`.")


@keys_app.command("revoke")
def revoke_key(key_id: str, as_json: JsonOption = False) -> None:
    """End a key; the gateway refuses it within seconds."""
    records = Records(Settings().database_url)
    records.revoke_key(key_id, utc_now())
    (revoked,) = [key for key in records.list_keys() if key.key_id == key_id]
    show(revoked, as_json, f"{key_id} is revoked.")


def local_key(settings: Settings) -> str:
    """A key for commands on this machine: from PALIER_API_KEY, or made once and kept readable by its owner only."""
    if settings.api_key:
        return settings.api_key.get_secret_value()
    path = settings.state_dir / KEY_FILE
    records = Records(settings.database_url)
    if path.is_file() and records.find_key(path.read_text().strip()):
        return path.read_text().strip()
    _, plaintext = records.create_key("this machine", ["ask", "admin"], utc_now())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(plaintext)
    return plaintext


def ask_gateway(settings: Settings, question: str, model: str = "palier", user: str | None = None) -> dict[str, Any]:
    """The gateway's JSON answer, with its request id; raises ServiceError with the gateway's own message."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}]}
    if user:
        body["user"] = user
    headers = {"Authorization": f"Bearer {local_key(settings)}"}
    url = f"{settings.gateway_url}/v1/chat/completions"
    try:
        reply = httpx.post(url, json=body, headers=headers, timeout=120)
    except httpx.HTTPError as error:
        raise ServiceError(
            f"The gateway at {settings.gateway_url} does not answer ({error}). Start it with `palier services up`."
        ) from error
    if reply.is_error:
        raise ServiceError(f"The gateway answered {reply.status_code}: {reply.text[:500]}")
    content: dict[str, Any] = reply.json()
    return {**content, "request_id": reply.headers.get("x-request-id", "")}


def describe_answer(body: Mapping[str, Any]) -> str:
    """An answer as a person reads it."""
    palier = body["palier"]
    lines = [body["choices"][0]["message"]["content"]]
    for citation in palier["citations"]:
        lines.append(f"  « {' '.join(citation['quote'].split())[:160]} »  {citation['document_id']}")
    saved = palier["saved_usd"]
    saving = "" if saved is None else f", saved about {saved:.9f} USD against the reference alone"
    rungs = " > ".join(attempt["rung"] for attempt in palier["attempts"])
    lines.append(f"  cost {palier['cost_usd']:.9f} USD{saving}; rungs {rungs}; release {palier['release_id']}")
    lines.append(f"  palier trace {body['request_id']}")
    return "\n".join(lines)


def _source(settings: Settings, index: str, citation: Mapping[str, Any]) -> dict[str, Any]:
    """File and lines of a cited passage: the ledger holds the lines, so that no index is needed that may be gone."""
    place = {name: citation.get(name) for name in ("start_line", "end_line")}
    return {
        "document_id": citation["document_id"],
        "corpus_revision": citation.get("revision"),
        "passage_id": citation["passage_id"],
        "quote": citation["quote"],
        "file": _file_of(citation["document_id"], settings),
        **(_place_in_index(settings, index, citation["passage_id"]) if None in place.values() else place),
    }


def _file_of(document_id: str, settings: Settings) -> str:
    """The document's file in the workspace at hand; where it is not there, it is taken for Markdown."""
    whole = workspace_at_hand(settings) / "documents" / document_id
    files = [path for path in whole.parent.glob("*") if normalize("NFC", path.stem) == whole.name and path.is_file()]
    names = [path.name for path in files if path.suffix.lower() in FORMATS]
    return str(PurePosixPath("documents", document_id).with_name(min(names, default=f"{whole.name}.md")))


def _place_in_index(settings: Settings, index: str, passage_id: str) -> dict[str, int]:
    """For rows of older gateways: the lines as the index has them; none where it is gone."""
    key = settings.elasticsearch_api_key
    client = connect(settings.search_url, key.get_secret_value() if key else None)
    passage = find_passage(client, index, passage_id)
    return {"start_line": passage.start_line, "end_line": passage.end_line} if passage else {}


def _describe_trace(found: Mapping[str, Any]) -> str:
    lines = [f"{name}: {found[name]}" for name in ("question", "answer", "rung", "release_id", "git_sha", "index")]
    lines += [f"model {name}: {version}" for name, version in found["models"].items()]
    for source in found["sources"]:
        place = f"{source['file']}:{source.get('start_line', '?')}-{source.get('end_line', '?')}"
        lines.append(f"source: {place} at corpus revision {source['corpus_revision']}\n  « {source['quote']} »")
    if not found["sources"]:
        print("This answer cites nothing.", file=sys.stderr)
    return "\n".join(lines)
