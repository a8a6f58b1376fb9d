"""Pages are true: generated ones are what the code says, links lead somewhere, named commands are there."""

import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from palier.__main__ import build_app
from palier.settings import repository_root

ROOT = repository_root()
GENERATED = ("cli.md", "dags.md", "openapi.json")
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "samples").glob("*.md")]
SOURCES = [path for name in ("src", "serving", "bench", "dags") for path in (ROOT / name).rglob("*.py")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"(?:^|[;&|]|\s)(?:\.venv/bin/)?(make|palier) +([a-z][^\n#;&]*)", re.MULTILINE)
WORD = re.compile(r"[a-z][a-z-]*")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def palier_commands() -> dict[str, Any]:
    """The commands below `palier` by name; a group among them has `commands` of its own."""
    found: dict[str, Any] = vars(get_command(build_app()))["commands"]
    return found


def named_commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """`make` or `palier`, with the words that follow it up to the first that is no plain word."""
    for program, rest in COMMAND.findall(text):
        words = []
        for word in rest.split():
            if not WORD.fullmatch(word):
                break
            words.append(word)
        if words:
            yield program, words


def code_of(page: str) -> str:
    return "\n".join(block or span for block, span in CODE.findall(page))


def unknown_commands(text: str) -> list[str]:
    targets, root = make_targets(), palier_commands()
    unknown = []
    for program, words in named_commands(text):
        if program == "make":
            known = set(words) <= targets
        else:
            below = getattr(root.get(words[0]), "commands", None)
            known = words[0] in root and (not below or len(words) == 1 or words[1] in below)
        if not known:
            unknown.append(f"{program} {' '.join(words)}")
    return unknown


def test_generated_pages_are_what_the_code_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` accepts the committed pages; of changed ones it names the stale ones, and writes nothing."""
    script = runpy.run_path(str(ROOT / "docs/generate.py"))
    assert tuple(script["PAGES"]) == GENERATED
    assert script["main"](["--check"]) == 0, capsys.readouterr().out
    for name in GENERATED:
        shutil.copy(ROOT / "docs" / name, tmp_path / name)
    (tmp_path / "dags.md").write_text("old", encoding="utf-8")
    (tmp_path / "cli.md").unlink()
    assert script["main"](["--check", "--folder", str(tmp_path)]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["docs/cli.md", "docs/dags.md"]
    assert (tmp_path / "dags.md").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_commands_of_a_page_exist(page: Path) -> None:
    """A relative link leads to a file, and a command in a code block or span is one that can be run."""
    text = page.read_text(encoding="utf-8")
    targets = [link.split("#")[0] for link in LINK.findall(text) if "://" not in link and not link.startswith("#")]
    assert [target for target in targets if not (page.parent / target).exists()] == []
    assert unknown_commands(code_of(text)) == []


def test_the_readme_names_the_two_commands_that_do_everything() -> None:
    """Whoever comes first reads `make run` and `make test`."""
    code = code_of((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {("make", "run"), ("make", "test")} <= {(program, words[0]) for program, words in named_commands(code)}


def test_commands_named_by_messages_and_targets_exist() -> None:
    """What an error tells a person to run, and what a target of the Makefile runs, is there."""
    spans = [span for path in SOURCES for span in re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))]
    told = [span for span in spans if span.startswith(("make ", "palier "))]
    assert len(told) > 20
    assert unknown_commands("\n".join(told)) == []
    recipes = [line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if line.startswith("\t")]
    assert unknown_commands("\n".join(recipes)) == []


def test_the_index_of_decisions_is_whole() -> None:
    """Each decision stands in the index once, under its number."""
    folder = ROOT / "docs/decisions"
    numbered = sorted(path.name for path in folder.glob("[0-9]*.md"))
    listed = re.findall(r"^\| \[(.+?)\]\((.+?)\) \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [(name, name) for name in numbered]
    assert [name[:4] for name in numbered] == [f"{number:04}" for number in range(1, len(numbered) + 1)]


def test_a_wrong_command_would_be_seen() -> None:
    """The reading of commands is itself right: words, options, subcommands, blocks."""
    page = "Run `make run`, `palier release begin`, then\n```\npalier ask --json x\n.venv/bin/palier fly high\n```\n"
    assert unknown_commands(code_of(page)) == ["palier release begin", "palier fly high"]
