"""PDF: pages, headings by type size, ruled tables and joined lines; what holds no text is told so."""

import io
from collections.abc import Callable

import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pypdf import PdfReader, PdfWriter, Transformation
from pypdf.generic import RectangleObject

from palier.adapters.formats import UnreadableFileError
from palier.adapters.formats.pdf import read_pdf
from palier.domain.documents import Document
from palier.domain.passages import split_document

LINE = 0.0145
"""The distance of two lines of 10 points, as a share of the page's height."""


def pdf_file(fill: Callable[[Figure, int], None], n_pages: int = 1) -> bytes:
    file = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}), PdfPages(file) as pdf:
        for number in range(1, n_pages + 1):
            page = Figure(figsize=(8.27, 11.69))
            fill(page, number)
            pdf.savefig(page)
    return file.getvalue()


def chapter(page: Figure, number: int) -> None:
    page.text(0.1, 0.97, "Running head of the handbook", fontsize=8)
    page.text(0.5, 0.03, f"Page {number}", fontsize=8)
    page.text(0.1, 0.9, f"Chapter {number}", fontsize=20)
    for i, text in enumerate(
        ("The dough rests for a long time in a cool and well-venti-", "lated room until it is soft.")
    ):
        page.text(0.1, 0.85 - LINE * i, text, fontsize=10)
    page.text(0.1, 0.74, "• flour", fontsize=10)
    page.text(0.1, 0.72, "• water", fontsize=10)


def ruled_table(page: Figure, _number: int) -> None:
    page.text(0.1, 0.7, "Words above the table.", fontsize=10)
    for y in (0.6, 0.57, 0.54, 0.51):
        page.add_artist(Line2D([0.1, 0.6], [y, y], color="k", lw=1))
    for x in (0.1, 0.35, 0.6):
        page.add_artist(Line2D([x, x], [0.51, 0.6], color="k", lw=1))
    for i, (name, price) in enumerate((("Pizza", "Price"), ("Margherita", "9.50"), ("Napoli", "11.00"))):
        page.text(0.12, 0.58 - 0.03 * i, name, fontsize=10)
        page.text(0.37, 0.58 - 0.03 * i, price, fontsize=10)


def test_headings_paragraphs_lists_and_pages_without_what_repeats_at_the_edges():
    content = read_pdf(pdf_file(chapter, n_pages=3))
    assert content.title == "Chapter 1"
    told = [(block.page, block.kind, block.lines) for block in content.blocks]
    assert told[:3] == [
        (1, "heading", ("# Chapter 1",)),
        (1, "paragraph", ("The dough rests for a long time in a cool and well-ventilated room until it is soft.",)),
        (1, "list", ("- flour", "- water")),
    ]
    assert "Running head" not in content.text
    assert "Page" not in content.text
    document = Document("en/book", "en", content.title, content.text, "en/book.pdf", "0", blocks=content.blocks)
    passages = split_document(document, 10)
    assert [(p.page, p.headings) for p in passages[-2:]] == [(3, "Chapter 3"), (3, "Chapter 3")]


def test_a_ruled_table_is_a_table_and_stands_once():
    content = read_pdf(pdf_file(ruled_table))
    assert [(block.kind, block.lines) for block in content.blocks] == [
        ("paragraph", ("Words above the table.",)),
        ("table", ("| Pizza | Price |", "|---|---|", "| Margherita | 9.50 |", "| Napoli | 11.00 |")),
    ]


def test_a_ruled_table_is_found_on_a_page_whose_corner_is_not_at_zero():
    def cropped(writer: PdfWriter) -> None:
        (page,) = writer.pages
        page.add_transformation(Transformation().translate(100, 200))
        page.mediabox = page.cropbox = RectangleObject([100, 200, 700, 1042])

    raw = written(lambda writer: (writer.append(PdfReader(io.BytesIO(pdf_file(ruled_table)))), cropped(writer)))
    assert read_pdf(raw).text == read_pdf(pdf_file(ruled_table)).text


def test_joined_letters_are_told_one_by_one():
    raw = pdf_file(lambda page, _: page.text(0.1, 0.9, "D\u00e9\ufb01nir l'o\ufb00re o\ufb03cielle", fontsize=10))
    assert read_pdf(raw).text == "Définir l'offre officielle"


def test_a_minus_at_the_beginning_of_a_line_is_no_bullet():
    def fill(page: Figure, _number: int) -> None:
        page.text(0.1, 0.9, "The cold room is kept at most at", fontsize=10)
        page.text(0.1, 0.9 - LINE, "-5 °C, and never above.", fontsize=10)

    assert read_pdf(pdf_file(fill)).text == "The cold room is kept at most at -5 °C, and never above."


def written(fill: Callable[[PdfWriter], object]) -> bytes:
    writer, file = PdfWriter(), io.BytesIO()
    fill(writer)
    writer.write(file)
    return file.getvalue()


def encrypted() -> bytes:
    def fill(writer: PdfWriter) -> None:
        writer.append(PdfReader(io.BytesIO(pdf_file(chapter))))
        writer.encrypt("secret")

    return written(fill)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (encrypted, "protected by a password"),
        (lambda: written(lambda writer: writer.add_blank_page(595, 842)), "holds no text on its 1 page"),
        (lambda: pdf_file(chapter)[:300], "not a PDF|holds no text"),
        (lambda: b"not a pdf at all", "not a PDF"),
    ],
)
def test_a_pdf_that_cannot_be_read_is_told_why(make: Callable[[], bytes], reason: str):
    with pytest.raises(UnreadableFileError, match=reason):
        read_pdf(make())
