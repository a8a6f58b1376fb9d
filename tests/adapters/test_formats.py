"""Every format comes to the same blocks, and a file that cannot is told why."""

import io
import re
import zipfile
from collections.abc import Callable

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import given, settings
from hypothesis import strategies as st

from palier.adapters.formats import FileContent, UnreadableFileError
from palier.adapters.formats.csv import read_csv
from palier.adapters.formats.docx import read_docx
from palier.adapters.formats.html import read_html
from palier.domain.documents import Document
from palier.domain.passages import split_document

PAGE = """<!doctype html>
<html><head><title>Menu | The shop</title><style>p {color: red}</style><script>alert("x")</script></head>
<body><header><a href="/">Home</a></header><nav><ul><li>Imprint</ul></nav>
<main>
<h1>Menu<a class="headerlink" href="#m">¶</a></h1>
Made <b>fresh</b> daily.
<p>First line
of a paragraph<br>and an été.
<h2>Prices</h2>
<table><caption>All prices</caption><tr><th>Pizza<th>Price
<tr><td rowspan=2>Margherita<td>9.50
<tr><td>10.50 | large
</table>
<ul><li>one<li>two<ol><li>deep</ol><li>three</ul>
<pre><code>def f():
    return "```"</code></pre>
</main><aside>Advertisement</aside><footer>Imprint</footer></body></html>"""


def structure(content: FileContent) -> list[tuple[str, tuple[str, ...]]]:
    return [(block.kind, block.lines) for block in content.blocks]


def document(content: FileContent) -> Document:
    return Document("en/page", "en", content.title, content.text, "en/page", "0", blocks=content.blocks)


def word_file(fill: Callable[[docx.document.Document], object]) -> bytes:
    made, file = docx.Document(), io.BytesIO()
    fill(made)
    made.save(file)
    return file.getvalue()


def test_html_keeps_headings_tables_lists_and_code_and_drops_what_frames_the_page():
    content = read_html(PAGE.encode())
    assert content.title == "Menu"
    assert structure(content) == [
        ("heading", ("# Menu",)),
        ("paragraph", ("Made fresh daily.",)),
        ("paragraph", ("First line of a paragraph", "and an été.")),
        ("heading", ("## Prices",)),
        ("paragraph", ("All prices",)),
        ("table", ("| Pizza | Price |", "|---|---|", "| Margherita | 9.50 |", "| Margherita | 10.50 / large |")),
        ("list", ("- one", "- two", "  1. deep", "- three")),
        ("code", ("```", "def f():", '    return "```"', "```")),
    ]


def test_html_blocks_point_at_the_lines_of_the_file():
    lines = PAGE.split("\n")
    for block in read_html(PAGE.encode()).blocks:
        region = "\n".join(lines[block.start_line - 1 : block.end_line])
        word = (
            block.title or block.lines[-1 if block.kind != "code" else -2].split()[-2 if block.kind == "table" else -1]
        )
        assert word in region, block


def test_html_is_read_in_its_declared_encoding():
    page = '<html><head><meta charset="iso-8859-1"></head><body><p>Café fermé – 10 €</body></html>'
    assert read_html(page.encode("windows-1252")).text == "Café fermé – 10 €"
    with pytest.raises(UnreadableFileError, match="not UTF-8: byte 0xe9"):
        read_html(page.replace("iso-8859-1", "utf-8").encode("windows-1252"))


@pytest.mark.parametrize("page", [b"<html></html>", b"<script>only()</script>", b"   ", b"<!-- nothing -->"])
def test_html_without_words_is_refused(page: bytes):
    with pytest.raises(UnreadableFileError):
        read_html(page)


@pytest.mark.parametrize("around", ["div", "section"])
def test_html_with_several_articles_keeps_them_all_with_their_own_headers(around: str):
    article = "<{0}><article><header><h2>{1}</h2></header><p>About {1}.</p></article></{0}>"
    page = f"<body><header>Brand</header>{article.format(around, 'bread')}{article.format(around, 'tea')}</body>"
    assert structure(read_html(page.encode())) == [
        ("heading", ("## bread",)),
        ("paragraph", ("About bread.",)),
        ("heading", ("## tea",)),
        ("paragraph", ("About tea.",)),
    ]


def test_html_lists_keep_their_numbers_and_their_nesting():
    page = "<ol start=4><li>bake<li value=7>cool<li>serve</ol><p>or</p><ul><li>one<ul><li>in</ul><ul><li>out</ul></ul>"
    outside = "<ul><li>one</li><ul><li>two</li><li>three</li></ul></ul>"
    assert [lines for _, lines in structure(read_html(page.encode()))] == [
        ("4. bake", "7. cool", "8. serve"),
        ("or",),
        ("- one", "  - in", "  - out"),
    ]
    assert structure(read_html(outside.encode())) == [("list", ("- one", "  - two", "  - three"))]


def test_a_word_that_may_be_cut_at_soft_hyphens_is_one_word():
    content = read_html(b"<h1>Rem&shy;bourse&shy;ment</h1><p>Sous qua&shy;torze jours.")
    assert (content.title, content.text) == ("Remboursement", "# Remboursement\n\nSous quatorze jours.")


def test_a_table_that_claims_to_span_a_million_columns_stays_small():
    (block,) = read_html(b"<table><tr><td colspan=1000000>a<td>b</table>").blocks
    assert len(block.text) < 500


def test_csv_rows_say_their_columns_and_point_at_their_lines():
    content = read_csv(b'name;price;note\nMargherita;9,50;"thin,\ncrisp"\n\nNapoli;11,00;\n')
    told = [(block.text, block.start_line, block.end_line) for block in content.blocks]
    assert told == [
        ("name: Margherita; price: 9,50; note: thin, crisp", 2, 3),
        ("name: Napoli; price: 11,00", 5, 5),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_with_all_fields_quoted_is_read_whatever_its_delimiter(delimiter: str):
    rows = (("name", "note"), ("Margherita", "thin, crisp; hot"))
    text = "\n".join(delimiter.join(f'"{field}"' for field in row) for row in rows)
    assert read_csv(text.encode()).text == "name: Margherita; note: thin, crisp; hot"


def test_csv_passages_are_whole_rows_in_order():
    rows = [f"{i},pizza number {i} with quite a few words to say about it" for i in range(100)]
    content = read_csv("\n".join(["id,text", *rows]).encode())
    passages = split_document(document(content), 40)
    assert len(passages) > 5
    lines = [line for passage in passages for line in passage.text.split("\n")]
    assert lines == [f"id: {row.replace(',', '; text: ', 1)}" for row in rows]
    assert (passages[0].start_line, passages[-1].end_line) == (2, 101)


def test_csv_one_long_row_is_never_cut():
    long = " ".join(f"w{i}" for i in range(500))
    (passage,) = split_document(document(read_csv(f"a,b\n1,{long}\n".encode())), 20)
    assert passage.text == f"a: 1; b: {long}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n3,4,5\n", r"ragged rows: line 3 has 3 fields, the header has 2"),
        ("a,b\n1,2\n3\n", r"ragged rows: line 3 has 1 fields"),
        ("a,b\n", "no rows under it"),
        ('a,b\n1,"2\n', "not valid CSV"),
        ("caf\udce9,b\n1,2\n", "not UTF-8"),
    ],
)
def test_csv_that_would_put_values_under_wrong_names_is_refused(text: str, reason: str):
    with pytest.raises(UnreadableFileError, match=reason):
        read_csv(text.encode("utf-8", "surrogateescape"))


def test_docx_keeps_heading_styles_lists_code_and_tables_in_order():
    def fill(made: docx.document.Document) -> None:
        made.add_heading("Handbook", 0)
        made.add_heading("Opening", 1)
        made.add_paragraph("Unlock the door.")
        made.add_paragraph("lights", style="List Bullet")
        made.add_paragraph("kitchen first", style="List Bullet 2")
        made.add_heading("Prices", 2)
        table = made.add_table(2, 2)
        for i, text in enumerate(("Pizza", "Price", "Margherita", "9.50")):
            table.cell(i // 2, i % 2).text = text
        made.add_paragraph("x = 1\ny = 2", style="macro")

    content = read_docx(word_file(fill))
    assert content.title == "Handbook"
    assert structure(content) == [
        ("heading", ("# Handbook",)),
        ("heading", ("# Opening",)),
        ("paragraph", ("Unlock the door.",)),
        ("list", ("- lights", "  - kitchen first")),
        ("heading", ("## Prices",)),
        ("table", ("| Pizza | Price |", "|---|---|", "| Margherita | 9.50 |")),
        ("code", ("```", "x = 1", "y = 2", "```")),
    ]
    lines = content.text.split("\n")
    assert all(tuple(lines[b.start_line - 1 : b.end_line]) == b.lines for b in content.blocks)
    assert split_document(document(content), 5)[-1].headings == "Opening > Prices"


def test_docx_words_in_controls_fields_insertions_and_inner_tables_are_read():
    def within(wrapper: str, text: str) -> str:
        return f"<w:{wrapper}><w:r><w:t>{text}</w:t></w:r></w:{wrapper}>"

    def prompt(said: str, text: str) -> str:
        return f"<w:sdt><w:sdtPr>{said}</w:sdtPr>{within('sdtContent', text)}</w:sdt>"

    deleted = "<w:del><w:r><w:delText>12</w:delText></w:r></w:del>"
    contents = "<w:docPartObj><w:docPartGallery w:val='Table of Contents'/></w:docPartObj>"

    def fill(made: docx.document.Document) -> None:
        inline = [deleted, within("ins", "14"), within("fldSimple", " euros"), prompt("", " a day")]
        inline += [prompt("<w:showingPlcHdr/>", "Click here"), prompt(contents, "Prices 1")]
        paragraph = made.add_paragraph("It costs ")
        for xml in inline:
            paragraph._p.append(parse_xml(xml.replace(">", f" {nsdecls('w')}>", 1)))
        block = (
            f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p><w:r><w:t>Ask Marie.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        )
        paragraph._p.addnext(parse_xml(block))
        table = made.add_table(2, 2)
        for i, text in enumerate(("Day", "Hours", "Monday")):
            table.cell(i // 2, i % 2).text = text
        inner = table.cell(1, 1).add_table(1, 2)
        inner.cell(0, 0).text, inner.cell(0, 1).text = "9-12", "14-18"

    assert structure(read_docx(word_file(fill))) == [
        ("paragraph", ("It costs 14 euros a day",)),
        ("paragraph", ("Ask Marie.",)),
        ("table", ("| Day | Hours |", "|---|---|", "| Monday | 9-12 14-18 |")),
    ]


def test_docx_is_named_by_its_title_paragraph_and_never_by_a_made_up_property():
    def fill(made: docx.document.Document) -> None:
        made.add_heading("Internal", 1)
        made.add_heading("Handbook", 0)

    assert read_docx(word_file(fill)).title == "Handbook"
    bare = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(word_file(lambda made: made.add_paragraph("Words.")))) as whole,
        zipfile.ZipFile(bare, "w") as archive,
    ):
        for part in set(whole.namelist()) - {"docProps/core.xml"}:
            xml = whole.read(part)
            if part in {"_rels/.rels", "[Content_Types].xml"}:
                xml = re.sub(rb"<(?:Relationship|Override) [^>]*core[.-][^>]*/>", b"", xml)
            archive.writestr(part, xml)
    assert read_docx(bare.getvalue()).title == ""


def test_docx_that_is_damaged_or_unpacks_to_far_more_is_refused():
    whole = word_file(lambda made: made.add_paragraph("Words."))
    with pytest.raises(UnreadableFileError, match="damaged"):
        read_docx(whole[: len(whole) // 2])
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"word/{i}.xml", b"\0" * 70_000_000)
    with pytest.raises(UnreadableFileError, match="unpacks to 210000000 bytes"):
        read_docx(bomb.getvalue())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["<p>", "</p>", "<table>", "<tr>", "<td>", "</table>", "<ul>", "<li>", "</ul>", "<pre>",
    "<h2>", "</h2>", "<dl>", "<dd>", "<br>", "<b>", "</div>", "<div>", "words here", "\n", "&amp;", "<td rowspan=3>"]),
    max_size=25))  # fmt: skip
def test_any_tag_soup_is_read_without_losing_its_words(parts: list[str]):
    page = "<p>first</p>" + " ".join(parts)
    text = read_html(page.encode()).text
    assert text.split().count("here") >= parts.count("words here")
