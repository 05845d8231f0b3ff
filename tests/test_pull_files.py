"""pull of folders: pages, PDF and Word files become documents; what cannot be read is named and skipped."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import Listener, read_documents, run_until
from docx import Document
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from hfembed.errors import MissingExtraError
from hfembed.pull.files import choose_title, parse_file
from hfembed.run import Manifest

PAGE = """<!doctype html><html><head><title>Pump guide - Acme docs</title><style>p {color: red}</style></head>
<body><nav><a href="/">Home</a> menu words</nav><main><h1>Pump guide</h1>
<p>The pump <b>leaks</b> after
three hours.</p><h2>Repair <em>steps</em></h2><ul><li>Turn it off</li><li>Change the ring</li></ul>
<table><tr><td>Part</td><td>R7</td></tr></table><pre>line one
  line two</pre><script>var hidden = "script words";</script></main><footer>Copyright words</footer></body></html>"""


def write_pdf(file: Path, pages: Sequence[Sequence[str]], title: str = "", password: str = "") -> Path:
    """Write a real PDF; each page holds lines of text, and a page without lines is blank."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for lines in pages:
        page = writer.add_blank_page(595, 842)
        stream = DecodedStreamObject()
        shown = " ".join(f"({line}) Tj 0 -20 Td" for line in lines)
        stream.set_data(f"BT /F1 12 Tf 72 760 Td {shown} ET".encode("latin-1"))
        page[NameObject("/Contents")] = stream
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(file)
    return file


def write_docx(file: Path, title: str = "") -> Path:
    document = Document()
    document.core_properties.title = title
    document.add_heading("Valves", level=1)
    document.add_paragraph("A valve sticks when it is cold.")
    document.add_heading("Care", level=2)
    document.add_paragraph("Oil it every spring.", style="List Bullet")
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "Part", "V2"
    document.save(str(file))
    return file


def write_texts(folder: Path, count: int = 10) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.txt").write_text(f"Plain text number {number} tells of marker{number}.", encoding="utf-8")
    return folder


def pull(tmp_path: Path, folder: Path, *settings: str, **options: Any) -> tuple[dict[str, dict[str, str]], Manifest]:
    run, _ = run_until(tmp_path / "run", folder, "pull", *settings, **options)
    return {row["id"]: row for row in read_documents(run)}, run.manifests("corpus")["pull"]


def test_every_form_of_file_in_one_folder_becomes_a_document(tmp_path: Path):
    folder = write_texts(tmp_path / "texts")
    (folder / "guide.html").write_text(PAGE, encoding="utf-8")
    write_pdf(folder / "manual.pdf", [["The gearbox rattles at noon."]], title="Gearbox manual")
    write_docx(folder / "valves.docx", title="About valves")
    (folder / "notes.md").write_text("---\ntitle: Field notes\ntags: [a]\n---\nRain came early.\n", encoding="utf-8")
    documents, manifest = pull(tmp_path, folder)
    assert manifest.counts["documents"] == 14 and manifest.dropped == {}
    titles = {name: documents[name]["title"] for name in ("guide.html", "manual.pdf", "valves.docx", "notes.md")}
    assert titles == {
        "guide.html": "Pump guide", "manual.pdf": "Gearbox manual", "valves.docx": "About valves",
        "notes.md": "Field notes",
    }  # fmt: skip
    assert documents["manual.pdf"]["text"] == "The gearbox rattles at noon."
    assert documents["notes.md"]["text"] == "Rain came early."


def test_a_page_loses_its_furniture_and_keeps_headings_lists_and_tables(tmp_path: Path):
    file = tmp_path / "page.html"
    file.write_text(PAGE, encoding="utf-8")
    assert parse_file(file, 1_000_000).text == (
        "The pump leaks after three hours.\n\n## Repair steps\n\n- Turn it off\n- Change the ring\n\n"
        "Part R7\n\nline one\nline two"
    )


@pytest.mark.parametrize(
    ("head", "encoding"),
    [("", "utf-8"), ('<meta charset="iso-8859-1">', "latin-1"), ('<meta charset="iso-8859-1">', "utf-8")],
)
def test_a_page_is_read_in_its_encoding_even_where_it_names_a_wrong_one(tmp_path: Path, head: str, encoding: str):
    file = tmp_path / "page.html"
    file.write_bytes(f"<html><head>{head}<title>Öl</title></head><body>Größe und Öl</body></html>".encode(encoding))
    parsed = parse_file(file, 1_000_000)
    assert (parsed.title, parsed.text) == ("Öl", "Größe und Öl")


def test_a_broken_page_is_mended(tmp_path: Path):
    file = tmp_path / "page.html"
    file.write_text("<p>One <b>bold<p>Two</i> &amp; three <table><tr><td>cell", encoding="utf-8")
    assert parse_file(file, 1_000_000).text == "One bold\n\nTwo & three\n\ncell"


def test_a_word_file_gives_paragraphs_lists_and_tables_in_order(tmp_path: Path):
    parsed = parse_file(write_docx(tmp_path / "valves.docx"), 1_000_000)
    assert (
        parsed.text == "# Valves\n\nA valve sticks when it is cold.\n\n\n## Care\n\n- Oil it every spring.\nPart | V2"
    )
    assert parsed.title == "valves"


def test_headers_and_footers_that_every_page_repeats_are_left_out(tmp_path: Path):
    pages = [["Acme manual", f"Fact {n} is here.", f"Page {n} of 5"] for n in range(5)]
    text = parse_file(write_pdf(tmp_path / "m.pdf", pages), 1_000_000).text
    assert "Acme" not in text and "Page" not in text and text.count("Fact") == 5


def test_a_word_cut_at_the_end_of_a_line_is_mended(tmp_path: Path):
    text = parse_file(write_pdf(tmp_path / "m.pdf", [["The gear-", "box is a Rolls-", "Royce."]]), 1_000_000).text
    assert text == "The gearbox is a Rolls-\nRoyce."


@pytest.mark.parametrize(
    ("title", "chosen"),
    [
        ("Annual report", "Annual report"), ("", "my file 2"), ("untitled", "my file 2"), ("report.doc", "my file 2"),
        ("Microsoft Word - x", "my file 2"), ("12345", "my file 2"), ("x" * 300, "my file 2"),
        ("  Two\n lines ", "Two lines"),
    ],
)  # fmt: skip
def test_a_title_that_tells_nothing_gives_way_to_the_name_of_the_file(title: str, chosen: str):
    assert choose_title(title, Path("a/my_file-2.pdf")) == chosen


def make_broken(folder: Path) -> dict[str, str]:
    """Put files into a folder that cannot be read; return the reason of each."""
    write_pdf(folder / "locked.pdf", [["Secret words."]], password="secret")
    write_pdf(folder / "scan.pdf", [[], []])
    (folder / "half.pdf").write_bytes(write_pdf(folder / "whole.pdf", [["Whole words."]]).read_bytes()[:200])
    (folder / "noise.pdf").write_bytes(b"%PDF-1.4 then noise")
    (folder / "locked.docx").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 600)
    (folder / "noise.docx").write_bytes(b"PK\x03\x04 noise")
    with zipfile.ZipFile(folder / "other.docx", "w") as archive:
        archive.writestr("something.xml", "<a/>")
    (folder / "nothing.pdf").write_bytes(b"")
    (folder / "blank.html").write_text("<html><body> </body></html>", encoding="utf-8")
    (folder / "blank.txt").write_text(" \n", encoding="utf-8")
    return {
        "locked.pdf": "encrypted_file", "scan.pdf": "scanned_pdf", "half.pdf": "broken_file",
        "noise.pdf": "broken_file", "locked.docx": "encrypted_file", "noise.docx": "broken_file",
        "other.docx": "broken_file", "nothing.pdf": "empty_file", "blank.html": "empty_file", "blank.txt": "empty_file",
    }  # fmt: skip


def test_a_broken_encrypted_empty_or_scanned_file_is_named_and_skipped(tmp_path: Path):
    folder = write_texts(tmp_path / "texts")
    wanted = make_broken(folder)
    heard = Listener()
    documents, manifest = pull(tmp_path, folder, listeners=[heard])
    assert {skipped["file"]: skipped["reason"] for skipped in manifest.facts["skipped_files"]} == wanted
    assert manifest.dropped == {"broken_file": 4, "empty_file": 3, "encrypted_file": 2, "scanned_pdf": 1}
    assert manifest.counts == {"read": 21, "documents": 11, "invalid_utf8": 0}
    assert documents["whole.pdf"]["text"] == "Whole words."
    (warning,) = [message for message in heard.messages("warning") if "files" in message]
    assert warning.startswith("10 files give no document: blank.html (empty file)") and "7 more" in warning
    assert str(tmp_path) not in manifest.model_dump_json()


def test_a_missing_parser_is_asked_for_by_name_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_texts(tmp_path / "texts")
    write_pdf(folder / "manual.pdf", [["Words."]])
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    with pytest.raises(MissingExtraError, match="'pypdf'") as caught:
        pull(tmp_path, folder)
    assert caught.value.hint == 'pip install "hfembed[files]"'


def test_texts_need_no_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("pypdf", "docx", "lxml"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    assert len(pull(tmp_path, write_texts(tmp_path / "texts"))[0]) == 10


def test_a_single_file_is_a_corpus_when_it_is_cut(tmp_path: Path):
    file = write_pdf(
        tmp_path / "book.pdf", [[f"Fact {n} of page {p} is told here." for n in range(6)] for p in range(3)]
    )
    heard = Listener()
    documents, manifest = pull(
        tmp_path, file, "pull.chunk.by=sentences", "pull.chunk.size=1", listeners=[heard]
    )  # fmt: skip
    assert list(documents)[:2] == ["book.pdf#1", "book.pdf#2"] and manifest.counts["chunks"] == 18
    assert {row["document"] for row in documents.values()} == {"book.pdf"}
    assert all(row["group"] == row["id"] for row in documents.values())
    assert any("1 long document" in message for message in heard.messages("warning"))
