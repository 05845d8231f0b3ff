"""Word documents: paragraphs, lists and tables in their order, headings as Markdown."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfembed.pull.files import Parsed, Problem, UnusableFileError

# The container of encrypted documents, and of the .doc format of old.
OLE = bytes.fromhex("d0cf11e0a1b11ae1")
HEADING = re.compile(r"(?i)heading (\d)")
MAX_INFLATED = 2**30


def parse_docx(file: Path, max_chars: int) -> Parsed:
    """Return title and text of a Word document."""
    from docx import Document

    with file.open("rb") as handle:
        if handle.read(len(OLE)) == OLE:
            raise UnusableFileError(Problem.ENCRYPTED)
    try:
        with zipfile.ZipFile(file) as archive:
            inflated = sum(entry.file_size for entry in archive.infolist() if entry.filename.endswith(".xml"))
        if inflated > MAX_INFLATED:
            raise UnusableFileError(Problem.BROKEN, f"it unpacks to {inflated / 2**20:,.0f} MB")
        document = Document(str(file))
        lines, length, named = [], 0, ""
        for style, text in _blocks(document):
            if style == "Title" and not named:
                named = text
                continue
            lines.append(_line(style, text))
            length += len(text)
            if length > max_chars:
                break
        title = str(document.core_properties.title or "")
    except (UnusableFileError, MemoryError):
        raise
    except Exception as error:
        # Whatever a damaged file makes the parser stumble over: it is this file's damage, and it is named.
        raise UnusableFileError(Problem.BROKEN, f"{type(error).__name__}: {error}") from error
    return Parsed(named or title, "".join(lines).strip())


def _blocks(document: Any) -> Iterator[tuple[str, str]]:
    """Yield the style and text of every paragraph, and every row of every table."""
    from docx.table import Table

    for block in document.iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                cells = dict.fromkeys(" ".join(cell.text.split()) for cell in row.cells)  # merged cells repeat
                yield "Table", " | ".join(cell for cell in cells if cell)
            yield "Normal", ""
        elif block.text.strip():
            yield str(block.style.name if block.style is not None else ""), block.text.strip()


def _line(style: str, text: str) -> str:
    heading = HEADING.match(style)
    if heading:
        return f"\n{'#' * min(6, int(heading[1]))} {' '.join(text.split())}\n\n"
    if style.startswith("List"):
        return f"- {text}\n"
    return f"{text}\n" if style == "Table" else f"{text}\n\n"
