"""A folder of files as documents; a file that cannot be used is told, with the reason.

Reads only: nothing here decides how many bad files are too many (the data gate does), and no file is opened before its
size is known. Which reader a file needs is told by its suffix, and no reader's library is loaded before a file of its
kind is there. Text is brought to Unicode NFC and to line feeds, since the same word in two encodings would be two words
to the index, and ids too, since a Mac may write a file's name otherwise than a golden question does; the price is that
offsets count in that text, not in the file's bytes (lines stay the same).
"""

import hashlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args
from unicodedata import normalize

from palier.adapters.formats import FileContent, Format, UnreadableFileError
from palier.domain.documents import Document, Lang
from palier.domain.language import detect_language
from palier.errors import DataGateError

FORMATS: Mapping[str, str] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".csv": "csv",
}
"""The module of `palier.adapters.formats` that reads each suffix; its function is called ``read_`` and that name."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that is left out; ``path`` is relative to the documents folder, ``size`` in bytes.

    A file that was not opened has no ``sha256``.
    """

    path: str
    reason: str
    size: int | None = None
    sha256: str | None = None


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


def read_documents(folder: Path, languages: Sequence[Lang], max_bytes: int) -> FolderReading:
    """All documents below ``folder``.

    The language is the first folder's name, or read off the text where there is none; files of a language
    that is not in ``languages`` are not asked for, and passed over. Raises DataGateError when the folder is missing or
    holds no file of a known format at all.
    """
    if not folder.is_dir():
        raise DataGateError(
            f"There is no documents folder at {folder}. Put documents into {folder}/<language>/, "
            "or make a workspace with `palier init DIR`."
        )
    reading = FolderReading()
    by_hash: dict[str, str] = {}
    by_id: dict[str, str] = {}
    for path in _files(folder, languages):
        name = path.relative_to(folder).as_posix()
        raw = b""
        try:
            raw = _read_bytes(path, folder, max_bytes)
            document = _document(raw, path.relative_to(folder), languages)
            _refuse_twin(document, by_hash, by_id)
        except UnreadableFileError as reason:
            reading.rejected.append(Rejected(name, str(reason), _size(path), _sha256(raw) if raw else None))
        else:
            by_hash[document.sha256] = by_id[document.document_id] = name
            reading.documents.append(document)
    if not reading.documents and not reading.rejected:
        raise DataGateError(
            f"{folder} holds no document ({', '.join(sorted(FORMATS))}) in "
            f"{' or '.join(languages)}. Put documents into {folder}/<language>/."
        )
    reading.documents.sort(key=lambda document: document.document_id)
    return reading


def _files(folder: Path, languages: Sequence[Lang]) -> Iterator[Path]:
    """Candidate files in a stable order; hidden ones, what Word lays beside an open file, and other languages are
    passed over.
    """
    unasked = set(get_args(Lang)) - set(languages)
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in FORMATS or any(part.startswith((".", "~$")) for part in parts):
            continue
        if path.is_dir() or (len(parts) > 1 and parts[0] in unasked):
            continue
        yield path


def _document(raw: bytes, name: Path, languages: Sequence[Lang]) -> Document:
    content = _content(raw, FORMATS[name.suffix.lower()])
    return Document(
        document_id=normalize("NFC", name.with_suffix("").as_posix()),
        lang=_language(name, content.text, languages),
        title=content.title or normalize("NFC", name.stem.replace("-", " ").replace("_", " ")),
        text=content.text,
        path=name.as_posix(),
        sha256=_sha256(raw),
        valid_from=content.valid_from,
        valid_until=content.valid_until,
        blocks=content.blocks,
    )


def _content(raw: bytes, format_name: str) -> FileContent:
    """What the format's reader finds; whatever goes wrong in a parser is a reason to leave this one file out."""
    read: Format = getattr(importlib.import_module(f"palier.adapters.formats.{format_name}"), f"read_{format_name}")
    if not raw:
        raise UnreadableFileError("is empty")
    try:
        return read(raw)
    except UnreadableFileError:
        raise
    except Exception as error:  # a parser raises anything on a damaged file, and the other files must go on
        told = f"{type(error).__name__}: {error}".strip(": ")
        raise UnreadableFileError(f"is damaged, or not what its suffix says ({told})") from error


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _read_bytes(path: Path, folder: Path, max_bytes: int) -> bytes:
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UnreadableFileError("is a link that leads out of the documents folder; copy the file itself")
        size = path.stat().st_size
        if size > max_bytes:
            raise UnreadableFileError(
                f"has {size} bytes, more than version_documents.max_document_bytes ({max_bytes}); split it"
            )
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"cannot be read ({error.strerror})") from error


def _language(name: Path, text: str, languages: Sequence[Lang]) -> Lang:
    named = next((lang for lang in languages if len(name.parts) > 1 and lang == name.parts[0]), None)
    if named or len(languages) == 1:
        return named or languages[0]
    detected = detect_language(text[:20_000], default=languages[0])
    return detected if detected in languages else languages[0]


def _refuse_twin(document: Document, by_hash: dict[str, str], by_id: dict[str, str]) -> None:
    if document.sha256 in by_hash:
        raise UnreadableFileError(f"is byte for byte the same as {by_hash[document.sha256]}; keep one")
    if document.document_id in by_id:
        raise UnreadableFileError(f"has the same id as {by_id[document.document_id]}; rename one")
