"""HTML, by lxml: what a reader of the page reads, without navigation, scripts, styles and controls.

Takes the main part where the page marks one, else the body. Tables become Markdown tables (a cell that spans several
stands once per row it covers), `pre` becomes code as it is written, links become their words. Lines are those of the
file. The price: text that scripts would write is not there, and side columns stay where a page does not mark them.
"""

import codecs
import re
from collections.abc import Iterable, Iterator

from lxml import etree, html

from palier.adapters.formats import FileContent, UnreadableFileError, content_of, decode_utf8
from palier.domain.blocks import Block, heading, pipe_table

_DROPPED = (
    *("script", "style", "template", "noscript", "svg", "math", "iframe", "object", "canvas", "audio", "video"),
    *("nav", "button", "select", "textarea", "input", "dialog"),
)
_CHROME = ("header", "footer", "aside")
"""Dropped where they frame the page; inside its main part, an article or a section they are content."""
_HIDDEN = (
    "//*[@hidden or @aria-hidden='true' or contains(translate(@style, ' ', ''), 'display:none')"
    " or @role='navigation' or @role='search' or @role='menu' or contains(@class, 'headerlink')]"
)
_BLOCKS = frozenset(
    (
        *(
            "address",
            "article",
            "aside",
            "blockquote",
            "body",
            "center",
            "dd",
            "details",
            "div",
            "dl",
            "dt",
            "fieldset",
        ),
        *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "legend", "li"),
        *("main", "menu", "ol", "p", "pre", "section", "summary", "table", "ul"),
    )
)
_LISTS = ("ul", "ol", "menu", "dl")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]{0,100}?encoding=[\"']([\w.:-]+)", re.I
)
_MAX_SPAN = 50
_FENCE = re.compile(r"^`{3,}", re.MULTILINE)


def read_html(raw: bytes) -> FileContent:
    """The page as blocks; its title is the first h1, else the `title`. Raises UnreadableFileError."""
    text = _decode(raw)
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        page = html.document_fromstring(text.encode(), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        raise UnreadableFileError(f"is not HTML that can be read ({error})") from error
    names = page.xpath("//title/text()")
    main = _main_part(page)
    blocks = list(_children(main))
    first = next((block.title for block in blocks if block.kind == "heading" and block.level == 1), "")
    return content_of(blocks, first or (names[0] if names else ""))


def _decode(raw: bytes) -> str:
    """In the encoding of the byte order mark or the declared one, else UTF-8."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decode_as(raw, "utf-16")
    match = None if raw.startswith(codecs.BOM_UTF8) else _CHARSET.search(raw[:2048])
    name = (match[1] or match[2]).decode().lower() if match else "utf-8"
    if name in {"iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii"}:
        name = "windows-1252"  # what browsers read under these names (WHATWG Encoding, section 4.2)
    return decode_utf8(raw) if name in {"utf-8", "utf8"} else _decode_as(raw, name)


def _decode_as(raw: bytes, name: str) -> str:
    try:
        return decode_utf8(raw.decode(name).encode())
    except (LookupError, UnicodeError) as error:
        raise UnreadableFileError(f"declares the encoding {name}, which it is not in; save it as UTF-8") from error


def _main_part(page: html.HtmlElement) -> html.HtmlElement:
    for element in [*page.iter(*_DROPPED), *page.xpath(_HIDDEN)]:
        if element.getparent() is not None:
            element.drop_tree()
    mains = page.xpath("//main | //*[@role='main']") or page.xpath("//article[not((//article)[2])]")
    if mains:
        return mains[0]
    body = page.find("body")
    root = page if body is None else body
    for element in list(root.iter(*_CHROME)):
        is_framing = next(element.iterancestors("article", "section"), None) is None
        if is_framing and element.getparent() is not None and element.find(".//h1") is None:
            element.drop_tree()
    return root


def _children(element: html.HtmlElement) -> Iterator[Block]:
    """The blocks inside ``element``: words between block elements are paragraphs."""
    words, line = [element.text or ""], _line(element)
    for child in element:
        if any(part.tag in _BLOCKS for part in child.iter()):
            yield from _paragraph("".join(words), line)
            yield from _block(child)
            words, line = [], _last_line(child)
        else:
            words.append(_words(child))
        words.append(child.tail or "")
    yield from _paragraph("".join(words), line)


def _block(element: html.HtmlElement) -> Iterator[Block]:
    if level := _HEADINGS.get(element.tag):
        title = " ".join(_words(element).split()).rstrip("¶").strip()
        yield from [heading(level, title, _line(element))] if title else []
    elif element.tag == "pre":
        yield from _code(element)
    elif element.tag == "table" and (rows := _cells(element)):
        for caption in element.iterchildren("caption"):
            yield from _paragraph(_words(caption), _line(caption))
        yield Block("table", pipe_table(rows), _line(element), last_line=_last_line(element))
    elif element.tag in _LISTS and next(element.iter("pre", "table"), None) is None and not _has_loose_words(element):
        lines = tuple(_items(element, ""))
        yield from [Block("list", lines, _line(element), last_line=_last_line(element))] if lines else []
    else:
        yield from _children(element)


def _paragraph(words: str, line: int) -> Iterator[Block]:
    before = len(words) - len(words.lstrip())
    start = line + words.count("\n", 0, before)
    lines = tuple(filter(None, (" ".join(part.split()) for part in words.split("\v"))))
    if lines:
        yield Block("paragraph", lines, start, last_line=start + words.strip().count("\n"))


def _code(element: html.HtmlElement) -> Iterator[Block]:
    for br in element.iter("br"):
        br.tail = "\n" + (br.tail or "")
    lines = element.text_content().replace("\t", "    ").strip("\n").split("\n")
    if any(line.strip() for line in lines):
        fence = max(_FENCE.findall("\n".join(lines)), default="``") + "`"
        yield Block("code", (fence, *lines, fence), _line(element), last_line=_last_line(element))


def _items(element: html.HtmlElement, indent: str) -> Iterator[str]:
    """A list's lines, what is nested in an item indented below it."""
    number = _number(element, "start", 1) - 1
    for item in element:
        if item.tag in _LISTS:  # not within an item, as many editors write it
            yield from _items(item, f"{indent}  ")
            continue
        nested = [part for part in item.iter("ul", "ol", "menu", "dl") if part is not item] if item.tag != "dt" else []
        outer = [part for part in nested if not any(above in nested for above in part.iterancestors())]
        for part in outer:
            part.drop_tree()
        number = _number(item, "value", number + 1) if item.tag == "li" else number
        mark = f"{number}." if element.tag == "ol" else "-"
        text = " ".join(_words(item).replace("\v", " ").split())
        if text:
            yield f"{indent}{'  - ' if item.tag == 'dd' else f'{mark} '}{text}"
        for part in outer:
            yield from _items(part, indent + " " * (len(mark) + 1))


def _number(element: html.HtmlElement, name: str, default: int) -> int:
    """What an attribute numbers an item of a list with."""
    written = element.get(name, "").strip()
    return int(written) if written.isascii() and written.isdigit() else default


def _cells(table: html.HtmlElement) -> list[list[str]]:
    """Rows of cells; empty for a table that only lays out the page."""
    rows = table.xpath("./tr | ./thead/tr | ./tbody/tr | ./tfoot/tr")
    inner = (part for part in table.iter("table", "pre", *_HEADINGS) if part is not table)
    if next(inner, None) is not None or _has_loose_words(table):
        return []
    grid: list[dict[int, str]] = [{} for _ in rows]
    for at, row in enumerate(rows):
        column = 0
        for cell in row.iterchildren("th", "td"):
            while column in grid[at]:
                column += 1
            text = " ".join(_words(cell).replace("\v", " ").split())
            for below in grid[at : at + _span(cell, "rowspan")]:
                below.update({column + i: text for i in range(_span(cell, "colspan"))})
    filled = [[row.get(i, "") for i in range(max(row) + 1)] for row in grid if any(row.values())]
    return filled if filled and max(map(len, filled)) > 1 else []


def _has_loose_words(element: html.HtmlElement) -> bool:
    """Whether words stand in a list or a table, but in none of its items or cells."""
    for part in element.iter(*_LISTS, "table", "thead", "tbody", "tfoot", "tr"):
        if "".join([part.text or "", *(child.tail or "" for child in part)]).strip():
            return True
    return False


def _span(cell: html.HtmlElement, name: str) -> int:
    written = cell.get(name, "1").strip()
    return min(max(1, int(written)), _MAX_SPAN) if written.isascii() and written.isdigit() else 1


def _words(element: html.HtmlElement) -> str:
    """All text of ``element``, its tail not; a vertical tab where the line is broken, blanks around inner blocks."""
    if element.tag == "br":
        return "\v"
    parts: Iterable[str] = (_words(child) + (child.tail or "") for child in element)
    text = (element.text or "") + "".join(parts)
    return f" {text} " if element.tag in _BLOCKS or element.tag in {"td", "th"} else text


def _line(element: html.HtmlElement) -> int:
    return int(element.sourceline or 1)


def _last_line(element: html.HtmlElement) -> int:
    """At least: line breaks inside tags are not counted."""
    inner = max((_line(part) for part in element.iter()), default=1)
    n_breaks = str(element.text_content()).rstrip().count("\n")
    return max(inner, _line(element) + n_breaks)
