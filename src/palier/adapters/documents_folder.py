"""A folder of Markdown and text files as documents; a file that cannot be used is told, with the reason.

Reads only: nothing here decides how many bad files are too many (the data gate does), and no file is opened before its
size is known. Text is brought to Unicode NFC and to line feeds, since the same word in two encodings would be two words
to the index; the price is that offsets count in that text, not in the file's bytes (lines stay the same).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args
from unicodedata import normalize

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from palier.domain.documents import Document, Lang
from palier.domain.language import detect_language
from palier.domain.markdown_blocks import front_matter_lines
from palier.domain.passages import first_heading
from palier.errors import DataGateError

SUFFIXES = frozenset({".md", ".markdown", ".txt"})


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that is left out; ``path`` is relative to the documents folder."""

    path: str
    reason: str


@dataclass(slots=True)
class FolderReading:
    """What a folder holds: documents sorted by id, and the files that cannot be used."""

    documents: list[Document] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def bad_share(self) -> float:
        """Rejected files as a share of all files that were looked at, 0..1."""
        n_files = len(self.documents) + len(self.rejected)
        return len(self.rejected) / n_files if n_files else 0.0


class _RejectedFileError(Exception):
    """Why one file is left out; never leaves this module."""


def read_documents(folder: Path, languages: Sequence[Lang], max_bytes: int) -> FolderReading:
    """All documents below ``folder``.

    The language is the first folder's name, or read off the text where there is none; files of a language
    that is not in ``languages`` are not asked for, and passed over. Raises DataGateError when the folder is missing or
    holds no Markdown or text file at all.
    """
    if not folder.is_dir():
        raise DataGateError(
            f"There is no documents folder at {folder}. Put Markdown files into {folder}/<language>/, "
            "or make a workspace with `palier init DIR`."
        )
    reading = FolderReading()
    by_hash: dict[str, str] = {}
    by_id: dict[str, str] = {}
    for path in _files(folder, languages):
        name = path.relative_to(folder).as_posix()
        try:
            document = _read_document(path, folder, languages, max_bytes)
            _refuse_twin(document, by_hash, by_id)
        except _RejectedFileError as reason:
            reading.rejected.append(Rejected(name, str(reason)))
        else:
            by_hash[document.sha256] = by_id[document.document_id] = name
            reading.documents.append(document)
    if not reading.documents and not reading.rejected:
        raise DataGateError(
            f"{folder} holds no Markdown or text file ({', '.join(sorted(SUFFIXES))}) in "
            f"{' or '.join(languages)}. Put documents into {folder}/<language>/."
        )
    reading.documents.sort(key=lambda document: document.document_id)
    return reading


def _files(folder: Path, languages: Sequence[Lang]) -> Iterator[Path]:
    """Candidate files in a stable order; hidden ones and other languages are passed over."""
    unasked = set(get_args(Lang)) - set(languages)
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in parts):
            continue
        if path.is_dir() or (len(parts) > 1 and parts[0] in unasked):
            continue
        yield path


def _read_document(path: Path, folder: Path, languages: Sequence[Lang], max_bytes: int) -> Document:
    raw = _read_bytes(path, folder, max_bytes)
    text = _decode(raw)
    name = path.relative_to(folder)
    return Document(
        document_id=name.with_suffix("").as_posix(),
        lang=_language(name, text, languages),
        title=_title(text) or path.stem.replace("-", " ").replace("_", " "),
        text=text,
        path=name.as_posix(),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _read_bytes(path: Path, folder: Path, max_bytes: int) -> bytes:
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise _RejectedFileError("is a link that leads out of the documents folder; copy the file itself")
        size = path.stat().st_size
        if size > max_bytes:
            raise _RejectedFileError(
                f"has {size} bytes, more than version_documents.max_document_bytes ({max_bytes}); split it"
            )
        return path.read_bytes()
    except OSError as error:
        raise _RejectedFileError(f"cannot be read ({error.strerror})") from error


def _decode(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        reason = f"is not UTF-8: byte 0x{raw[start]:02x} at offset {start}; save it as UTF-8"
        raise _RejectedFileError(reason) from error
    if "\x00" in text:
        raise _RejectedFileError(f"is not text: a zero byte at offset {raw.index(0)}")
    if not text.strip():
        raise _RejectedFileError("is empty")
    return normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def _language(name: Path, text: str, languages: Sequence[Lang]) -> Lang:
    named = next((lang for lang in languages if len(name.parts) > 1 and lang == name.parts[0]), None)
    if named or len(languages) == 1:
        return named or languages[0]
    detected = detect_language(text[:20_000], default=languages[0])
    return detected if detected in languages else languages[0]


def _title(text: str) -> str:
    """The title of the front matter, else the first heading; empty when there is neither."""
    lines = text.split("\n")
    n = front_matter_lines(lines)
    fields = _front_matter("\n".join(lines[1 : n - 1])) if n else {}
    title = fields.get("title")
    return str(title).strip() if title else first_heading(text)


def _front_matter(text: str) -> dict[object, object]:
    try:
        fields = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 2
        raise _RejectedFileError(f"has front matter that is not valid YAML, near line {line}") from error
    return fields if isinstance(fields, dict) else {}


def _refuse_twin(document: Document, by_hash: dict[str, str], by_id: dict[str, str]) -> None:
    if document.sha256 in by_hash:
        raise _RejectedFileError(f"is byte for byte the same as {by_hash[document.sha256]}; keep one")
    if document.document_id in by_id:
        raise _RejectedFileError(f"has the same id as {by_id[document.document_id]}; rename one")
