"""Documents and the passages cut from them.

Ids are contents: a passage keeps its id for as long as its words and its place in the headings stay the
same, so that an unchanged passage is recognised across corpus revisions.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from palier.domain.blocks import Block

Lang = Literal["en", "fr"]


def sha256_text(text: str) -> str:
    """Hex sha256 of the UTF-8 bytes of ``text``."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@dataclass(frozen=True, slots=True)
class Document:
    """One source file. ``document_id`` is its path below the documents folder, without the extension.

    ``text`` is what stands in it as text: of Markdown the file itself, of other formats the text of their blocks.
    Dates of validity are ISO 8601.
    """

    document_id: str
    lang: Lang
    title: str
    text: str
    path: str
    sha256: str
    blocks: tuple[Block, ...]
    """What its format's reader found: passages are cut from these."""
    valid_from: str | None = None
    valid_until: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """What is indexed: a piece of one document under its path of headings; lines and pages count from 1, inclusive.

    Lines are those of the file, or of ``Document.text`` where the file has none (PDF, DOCX). ``duplicate_of`` is the
    id of an earlier passage that says nearly the same.
    """

    passage_id: str
    document_id: str
    lang: Lang
    title: str
    headings: str
    text: str
    start_line: int
    end_line: int
    page: int | None = None
    valid_from: str | None = None
    valid_until: str | None = None
    duplicate_of: str | None = None

    @property
    def holds_on_no_day(self) -> bool:
        """Whether its dates contradict each other, as where its text ends before its document begins."""
        return bool(self.valid_from and self.valid_until and self.valid_from > self.valid_until)

    @property
    def place(self) -> str:
        """Where the passage stands: title and headings, as far as it has them."""
        return " > ".join(part for part in (self.title, self.headings) if part)

    @property
    def content(self) -> str:
        """What a model reads: where the passage stands, then its text."""
        return f"{self.place}\n{self.text}" if self.place else self.text


def passage_id(document_id: str, headings: str, text: str, repeat: int = 0) -> str:
    """Id of a passage from its content; ``repeat`` tells identical twins in one document apart."""
    digest = sha256_text(f"{headings}\n{text}")[:12]
    return f"{document_id}#{digest}" + (f"-{repeat}" if repeat else "")
