"""Files become documents, or are told with a reason; nothing is passed over in silence."""

import hashlib
import io
import os
import tempfile
import unicodedata
from pathlib import Path

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palier.adapters.documents_folder import FolderReading, read_documents
from palier.errors import DataGateError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder: Path, max_bytes: int = 10_000) -> FolderReading:
    return read_documents(folder, ["en", "fr"], max_bytes)


def reason(folder: Path, name: str) -> str:
    return next(item.reason for item in read(folder).rejected if item.path == name)


def test_id_language_and_title_come_from_path_front_matter_heading_or_name(tmp_path: Path):
    write(tmp_path, "en/menus/menu.md", "---\ntitle: 'Menu: 2026'\n---\n# Other\n")
    write(tmp_path, "fr/horaires.md", "Texte.\n\n## **Horaires** d'été\n")
    write(tmp_path, "en/late-orders.txt", "No heading here.")
    told = {d.document_id: (d.lang, d.title) for d in read(tmp_path).documents}
    assert told == {
        "en/late-orders": ("en", "late orders"),
        "en/menus/menu": ("en", "Menu: 2026"),
        "fr/horaires": ("fr", "Horaires d'été"),
    }


def test_a_name_in_letters_and_accents_apart_gives_the_same_id_and_title(tmp_path: Path):
    write(tmp_path, unicodedata.normalize("NFD", "fr/été-à-la-carte.md"), "Texte.")
    (document,) = read(tmp_path).documents
    assert (document.document_id, document.title) == ("fr/été-à-la-carte", "été à la carte")
    assert (tmp_path / document.path).is_file()


def test_what_word_lays_beside_an_open_file_is_passed_over(tmp_path: Path):
    write(tmp_path, "en/good.md", "# Good\n\nText.")
    write(tmp_path, "en/~$good.docx", b"\x05Marie")
    assert not read(tmp_path).rejected


def test_without_a_language_folder_the_text_tells(tmp_path: Path):
    write(tmp_path, "a.md", "Les commandes sont livrées dans les trente minutes, sauf le dimanche.")
    write(tmp_path, "shop/b.md", "Orders are delivered within thirty minutes, but not on Sundays.")
    assert {d.document_id: d.lang for d in read(tmp_path).documents} == {"a": "fr", "shop/b": "en"}


def test_each_bad_file_is_told_with_its_reason_and_the_others_are_read(tmp_path: Path):
    write(tmp_path, "en/good.md", "# Good\n\nText.")
    write(tmp_path, "en/latin.md", "caf\xe9".encode("latin-1"))
    write(tmp_path, "en/bom.md", b"\xef\xbb\xbfok \xff")
    write(tmp_path, "en/empty.md", " \n\n")
    write(tmp_path, "en/image.md", b"\x89PNG\x00")
    write(tmp_path, "en/zero.md", "text \0 text")
    write(tmp_path, "en/twin.md", "# Good\n\nText.")
    write(tmp_path, "en/good.txt", "Another text of the same name.")
    write(tmp_path, "en/yaml.md", "---\ntitle: [unclosed\n---\nText")
    reading = read(tmp_path)
    assert [document.document_id for document in reading.documents] == ["en/good"]
    assert reading.bad_share == pytest.approx(8 / 9)
    assert "byte 0xe9 at offset 3" in reason(tmp_path, "en/latin.md")
    assert "byte 0xff at offset 6" in reason(tmp_path, "en/bom.md")
    assert "empty" in reason(tmp_path, "en/empty.md")
    assert "offset 0" in reason(tmp_path, "en/image.md")
    assert "offset 5" in reason(tmp_path, "en/zero.md")
    assert "same as en/good.md" in reason(tmp_path, "en/twin.md")
    assert "same id as en/good.md" in reason(tmp_path, "en/good.txt")
    assert "front matter" in reason(tmp_path, "en/yaml.md")


def test_every_format_is_read_and_a_damaged_one_is_told_with_its_size_and_hash(tmp_path: Path):
    made, file = docx.Document(), io.BytesIO()
    made.add_paragraph("From Word.")
    made.save(file)
    write(tmp_path, "en/page.html", "<h1>Page</h1><p>From a page.")
    write(tmp_path, "en/prices.csv", "name,price\nMargherita,9.50\n")
    write(tmp_path, "en/word.docx", file.getvalue())
    broken = {"broken.docx": b"PK\x03\x04 no Word file", "broken.pdf": b"%PDF-1.7 no PDF"}
    for name, raw in broken.items():
        write(tmp_path, f"en/{name}", raw)
    reading = read(tmp_path, max_bytes=100_000)
    told = {document.document_id: (document.title, document.text) for document in reading.documents}
    assert told == {
        "en/page": ("Page", "# Page\n\nFrom a page."),
        "en/prices": ("prices", "name: Margherita; price: 9.50"),
        "en/word": ("word", "From Word."),
    }
    told_bad = [(item.path, item.size, item.sha256) for item in reading.rejected]
    assert told_bad == [(f"en/{name}", len(raw), hashlib.sha256(raw).hexdigest()) for name, raw in broken.items()]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_word_file_damaged_anywhere_is_read_or_told_never_fatal(data: st.DataObject):
    made, file = docx.Document(), io.BytesIO()
    made.add_heading("Words", 1)
    made.save(file)
    raw = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 20))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "en/word.docx", bytes(raw))
        reading = read(Path(folder), max_bytes=1_000_000)
    assert len(reading.documents) + len(reading.rejected) == 1


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path):
    """A sparse file of 20 TB: reading any of it would be noticed."""
    write(tmp_path, "en/good.md", "Text.")
    with write(tmp_path, "en/huge.md", "").open("r+b") as handle:
        os.truncate(handle.fileno(), 20 * 10**9)
    assert "20000000000 bytes" in reason(tmp_path, "en/huge.md")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path):
    secret = write(tmp_path, "outside/secret.md", "secret")
    write(tmp_path, "documents/en/good.md", "Text.")
    (tmp_path / "documents/en/link.md").symlink_to(secret)
    assert "leads out" in reason(tmp_path / "documents", "en/link.md")


def test_line_ends_accents_and_byte_order_marks_are_brought_to_one_form(tmp_path: Path):
    write(tmp_path, "fr/a.md", b"\xef\xbb\xbf" + "e\u0301te\u0301\r\nfin\r\n".encode())
    (document,) = read(tmp_path).documents
    assert document.text == "été\nfin\n"


def test_hidden_files_other_kinds_and_languages_not_asked_for_are_passed_over(tmp_path: Path):
    write(tmp_path, "en/good.md", "Text.")
    write(tmp_path, "en/.draft.md", "Draft.")
    write(tmp_path, ".git/x.md", "x")
    write(tmp_path, "en/photo.png", b"\x89PNG")
    write(tmp_path, "fr/page.md", "Texte.")
    reading = read_documents(tmp_path, ["en"], 1000)
    assert [document.document_id for document in reading.documents] == ["en/good"]
    assert reading.rejected == []


@pytest.mark.parametrize("make", [False, True])
def test_a_missing_or_empty_folder_is_an_error_with_a_remedy(tmp_path: Path, make: bool):
    folder = tmp_path / "documents"
    if make:
        folder.mkdir()
    with pytest.raises(DataGateError, match="Put"):
        read(folder)
