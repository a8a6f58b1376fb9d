"""Distinct passages of real text, out of whatever is at hand: question files, outcome files, archives and folders.

    .jsonl[.gz]   QA rows: each context once
    .parquet      outcome or query rows: each `answer` or `query` (public ones: MMLU-Pro, RouteLLM's evaluations)
    .tar.gz .tgz  Markdown, text and HTML inside
    a folder      the same, at any depth, gzipped files too: /usr/share/doc of a Debian machine, a project's docs

One passage in memory at a time. Two passages are the same when their words are, whatever case and spaces, and those of
fewer than 20 words are left out. The price: 80 bytes per distinct passage, to know it again; and near-duplicates, such
as two models' answers to one question, count as two.
"""

import gzip
import hashlib
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from bench.report import read_qa, tell
from palier.adapters.formats import UnreadableFileError
from palier.adapters.formats.html import read_html
from palier.adapters.formats.markdown import read_blocks, read_markdown
from palier.domain.answering import Question
from palier.domain.blocks import Block
from palier.domain.documents import Document, Passage
from palier.domain.language import detect_language
from palier.domain.passages import split_document
from palier.errors import InputError

MIN_WORDS = 20
_MAX_BYTES = 20_000_000
_READERS: dict[str, Callable[[bytes], Any]] = {
    **dict.fromkeys((".md", ".markdown", ".txt", ".rst"), read_markdown),
    **dict.fromkeys((".html", ".htm"), read_html),
}
_PLAIN_NAMES = ("changelog", "readme", "news", "copyright")


@dataclass(slots=True)
class SourceCount:
    """What one file or folder gave; ``path`` is its name alone."""

    path: str
    texts: int = 0
    unreadable: int = 0
    passages: int = 0
    short: int = 0
    repeated: int = 0
    distinct: int = 0


@dataclass(slots=True)
class TextStream:
    """The distinct passages of ``paths``, in their order, once; counts and questions grow as they are taken."""

    paths: Sequence[Path]
    passage_words: int
    counts: list[SourceCount] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    _seen: set[bytes] = field(default_factory=set)

    def passages(self) -> Iterator[Passage]:
        """Raises InputError for a file of another kind, before anything is read."""
        sources = [(path, _source_of(path)) for path in self.paths]
        for path, read in sources:
            count = SourceCount(path.name or str(path))
            self.counts.append(count)
            tell(f"read {count.path}")
            for document in read(path, self, count):
                count.texts += 1
                yield from self._distinct(document, count)

    def told(self) -> list[dict[str, Any]]:
        """The counts as the benchmark's file holds them."""
        return [asdict(count) for count in self.counts]

    def _distinct(self, document: Document, count: SourceCount) -> Iterator[Passage]:
        for passage in split_document(document, self.passage_words):
            count.passages += 1
            words = passage.text.casefold().split()
            digest = hashlib.sha256(" ".join(words).encode()).digest()[:16]
            if len(words) < MIN_WORDS:
                count.short += 1
            elif digest in self._seen:
                count.repeated += 1
            else:
                self._seen.add(digest)
                count.distinct += 1
                yield replace(passage, passage_id=digest.hex())


_Read = Callable[[Path, TextStream, SourceCount], Iterator[Document]]


def _source_of(path: Path) -> _Read:
    name = path.name.lower()
    if path.is_dir():
        return _from_folder
    if name.endswith((".tar.gz", ".tgz")):
        return _from_archive
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _from_questions
    if name.endswith(".parquet"):
        return _from_table
    raise InputError(f"{path} is no source of text: give .jsonl[.gz], .parquet, .tar.gz or a folder.")


def _from_questions(path: Path, stream: TextStream, _: SourceCount) -> Iterator[Document]:
    seen: set[str] = set()
    for row in read_qa(path):
        if row.question.strip():
            stream.questions.append(Question(row.question, "fr" if row.lang == "fr" else "en"))
        if row.context not in seen:
            seen.add(row.context)
            yield _document(f"{path.name}#{row.passage_id}", row.context, row.title.replace("_", " "))


def _from_table(path: Path, _: TextStream, __: SourceCount) -> Iterator[Document]:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path)
    columns = [name for name in ("answer", "query") if name in table.schema_arrow.names]
    if not columns:
        raise InputError(f"{path} has neither a column `answer` nor `query`.")
    n_rows = 0
    for batch in table.iter_batches(batch_size=1000, columns=columns):
        for row in batch.to_pylist():
            n_rows += 1
            for column in columns:
                if row[column] and row[column].strip():
                    yield _document(f"{path.name}#{n_rows}-{column}", row[column], "")


def _from_archive(path: Path, _: TextStream, count: SourceCount) -> Iterator[Document]:
    with tarfile.open(path) as archive:
        for member in archive:
            handle = archive.extractfile(member) if member.isfile() and member.size <= _MAX_BYTES else None
            if handle is not None:
                yield from _read_file(PurePosixPath(member.name), handle.read, count)


def _from_folder(path: Path, _: TextStream, count: SourceCount) -> Iterator[Document]:
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.is_symlink() and file.stat().st_size <= _MAX_BYTES:
            yield from _read_file(PurePosixPath(file.relative_to(path).as_posix()), file.read_bytes, count)


def _read_file(name: PurePosixPath, read: Callable[[], bytes], count: SourceCount) -> Iterator[Document]:
    """The document of one file; none for a file of another kind, and one that cannot be read is counted."""
    plain = name.with_suffix("") if name.suffix == ".gz" else name
    is_plain_name = plain.name.lower().startswith(_PLAIN_NAMES) and plain.suffix in ("", ".Debian")
    reader = _READERS.get(plain.suffix.lower()) or (read_markdown if is_plain_name else None)
    if reader is None:
        return
    try:
        raw = gzip.decompress(read()) if name.suffix == ".gz" else read()
        content = reader(raw[:_MAX_BYTES])
    except (UnreadableFileError, OSError, EOFError):
        count.unreadable += 1
        return
    yield _document(name.as_posix(), content.text, content.title, content.blocks)


def _document(name: str, text: str, title: str, blocks: tuple[Block, ...] | None = None) -> Document:
    """Text without blocks of its own is read as Markdown."""
    blocks = read_blocks(text) if blocks is None else blocks
    return Document(name, detect_language(text[:5000]), title, text, name, "", blocks)
