"""Write the pages that follow from the code: `cli.md`, `dags.md` and `openapi.json`; `--check` names the stale ones.

The command line is asked for its own help, the gateway for its own schema, and the DAG files are read as text: no
Airflow is needed to know what a DAG says of itself. The price: what a DAG file computes rather than writes down (a
schedule put together at run time) would appear here as the expression that makes it.
"""

import argparse
import ast
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from typer.main import get_command

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 100
MADE = "<!-- Made by `make docs` from the code: change the code, not this page. -->"


@dataclass(frozen=True)
class DagPage:
    """What a DAG file says of itself; ``schedule`` and ``order`` are its own expressions."""

    dag_id: str
    text: str
    schedule: str
    order: str
    waits_for: tuple[str, ...]
    fires: tuple[str, ...]


def cli_page() -> str:
    """Markdown: the plain help of every command, as wide as a page, in the order in which the root lists them."""
    from palier.__main__ import build_app

    parts = [MADE, "# The command line", "Every command that takes `--json` prints its result as JSON."]
    for path, text in _helps(get_command(build_app()), None, "palier"):
        parts.append(f"{'##' if ' ' not in path else '###'} `{path}`\n\n```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def dags_page(folder: Path = ROOT / "dags") -> str:
    """Markdown: how assets join the DAGs, then each DAG's docstring, schedule and order of tasks."""
    pages = [page for path in sorted(folder.glob("*.py")) if (page := read_dag(path)) is not None]
    parts = [MADE, "# The DAGs", _graph(pages)]
    for page in pages:
        facts = [f"- schedule: `{page.schedule}`", f"- tasks: `{page.order}`"]
        facts += [f"- fires: {', '.join(page.fires)}"] if page.fires else []
        parts.append(f"## `{page.dag_id}`\n\n{page.text.strip()}\n\n" + "\n".join(facts))
    return "\n\n".join(parts) + "\n"


def openapi_page() -> str:
    """The gateway's OpenAPI schema as JSON with sorted keys."""
    from serving.app import create_app

    return json.dumps(create_app().openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {"cli.md": cli_page, "dags.md": dags_page, "openapi.json": openapi_page}


def read_dag(path: Path) -> DagPage | None:
    """What stands in a DAG file; None where the file defines no DAG."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for call in (node for node in function.decorator_list if isinstance(node, ast.Call)):
            if ast.unparse(call.func) == "dag":
                return _page(function, call, ast.get_docstring(tree) or "")
    return None


def _page(function: ast.FunctionDef, call: ast.Call, text: str) -> DagPage:
    schedule = next(keyword.value for keyword in call.keywords if keyword.arg == "schedule")
    outlets = [
        name
        for node in ast.walk(function)
        if isinstance(node, ast.keyword) and node.arg == "outlets"
        for name in _assets(node.value)
    ]
    order = ast.unparse(function.body[-1]).replace("()", "")
    return DagPage(function.name, text, ast.unparse(schedule), order, tuple(_assets(schedule)), tuple(outlets))


def _assets(node: ast.expr) -> list[str]:
    """Names in capitals: the assets of `dags/loop.py`."""
    return [name.id for name in ast.walk(node) if isinstance(name, ast.Name) and name.id.isupper()]


def _graph(pages: list[DagPage]) -> str:
    edges = [f"  {page.dag_id} --> {asset}([{asset}])" for page in pages for asset in page.fires]
    edges += [f"  {asset}([{asset}]) --> {page.dag_id}" for page in pages for asset in page.waits_for]
    return "\n".join(["```mermaid", "flowchart LR", *edges, "```"])


def _helps(command, parent, name: str) -> Iterator[tuple[str, str]]:  # type: ignore[no-untyped-def]
    """Path and help of a command and all below it; rich's boxes, which follow the terminal, are left out."""
    command.rich_markup_mode = None
    context = command.context_class(command, parent=parent, info_name=name, terminal_width=WIDTH)
    yield context.command_path, _trimmed(command.get_help(context))
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _helps(child, context, child_name)


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def main(given: Sequence[str]) -> int:
    """Exit status 0, or 1 when ``--check`` found a page that is not what the code says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name each stale page")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs", help="where the pages lie")
    arguments = parser.parse_args(given)
    stale = []
    for name, make in PAGES.items():
        path, text = arguments.folder / name, make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not arguments.check:
                path.write_text(text, encoding="utf-8")
    for name in stale:
        what = "is stale: run `make docs` and commit it" if arguments.check else "written"
        sys.stdout.write(f"docs/{name} {what}\n")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
