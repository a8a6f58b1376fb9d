"""One reader per file format, each bringing a file's bytes to text and blocks.

A reader knows its format and nothing of folders, languages or limits. It uses a parser that others keep well and never
runs what a file contains (scripts, macros, links). The price: a parser's own view of a file is taken as the file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from unicodedata import normalize

from palier.domain.blocks import Block, joined


class UnreadableFileError(Exception):
    """Why a file is left out, as the end of a sentence that begins with its name; told, never fatal."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """What stands in a file; ``title`` is empty where it has none. Dates are ISO 8601."""

    text: str
    title: str = ""
    blocks: tuple[Block, ...] = ()
    valid_from: str | None = None
    valid_until: str | None = None


Format = Callable[[bytes], FileContent]


def content_of(blocks: Sequence[Block], title: str) -> FileContent:
    """Blocks, brought to Unicode NFC and without soft hyphens (a word holding one would be another word to the index),
    with their text; raises UnreadableFileError when no word is in them.
    """
    composed = tuple(
        replace(block, lines=tuple(map(_composed, block.lines)), title=_composed(block.title)) for block in blocks
    )
    text = joined(composed)
    if not text.strip():
        raise UnreadableFileError("holds no text")
    return FileContent(text, _composed(" ".join(title.split())), composed)


def _composed(text: str) -> str:
    return normalize("NFC", text.replace("\u00ad", ""))


def decode_utf8(raw: bytes) -> str:
    """Text in NFC with line feeds; raises UnreadableFileError for other encodings, bytes that are not text, or none."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        reason = f"is not UTF-8: byte 0x{raw[start]:02x} at offset {start}; save it as UTF-8"
        raise UnreadableFileError(reason) from error
    if "\x00" in text:
        raise UnreadableFileError(f"is not text: a zero byte at offset {raw.index(0)}")
    if not text.strip():
        raise UnreadableFileError("is empty")
    return normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
