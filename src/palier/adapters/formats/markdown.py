"""Markdown, and plain text read as Markdown: the text stays as it is, its front matter tells title and validity."""

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from palier.adapters.formats import FileContent, UnreadableFileError, decode_utf8
from palier.domain.markdown_blocks import front_matter_lines
from palier.domain.passages import first_heading
from palier.domain.validity import iso_date


def read_markdown(raw: bytes) -> FileContent:
    """The text with line feeds and in NFC; raises UnreadableFileError."""
    text = decode_utf8(raw)
    fields = _front_matter(text)
    title = fields.get("title")
    return FileContent(
        text=text,
        title=str(title).strip() if title else first_heading(text),
        valid_from=_date(fields, "valid_from"),
        valid_until=_date(fields, "valid_until"),
    )


def _front_matter(text: str) -> dict[object, object]:
    lines = text.split("\n")
    n = front_matter_lines(lines)
    try:
        fields = YAML(typ="safe", pure=True).load("\n".join(lines[1 : n - 1])) if n else {}
    except (YAMLError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 2
        raise UnreadableFileError(f"has front matter that is not valid YAML, near line {line}") from error
    return fields if isinstance(fields, dict) else {}


def _date(fields: dict[object, object], name: str) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    told = iso_date(value)
    if told is None:
        raise UnreadableFileError(f"has front matter whose {name} is {value!r}, not a date; write it as 2026-12-31")
    return told
