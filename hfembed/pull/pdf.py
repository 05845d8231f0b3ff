"""PDF: the text of its pages, without the lines that every page repeats."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

from hfembed.pull.files import Parsed, Problem, UnusableFileError

# A line at the top or bottom of this share of the pages is a header or footer.
REPEATED_SHARE = 0.6
MIN_PAGES = 4
HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\n(?=[^\W\d_])(?=[a-z\u00df-\u00ff])")


def parse_pdf(file: Path, max_chars: int) -> Parsed:
    """Return title and text of a PDF, read no further than a document may be long."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every flaw that it mends
    try:
        reader = PdfReader(file, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnusableFileError(Problem.ENCRYPTED)
        pages, length = [], 0
        for page in reader.pages:
            pages.append((page.extract_text() or "").strip())
            length += len(pages[-1])
            if length > max_chars:
                break
        title = str(reader.metadata.title or "") if reader.metadata else ""
    except (UnusableFileError, MemoryError):
        raise
    except (FileNotDecryptedError, DependencyError) as error:
        raise UnusableFileError(Problem.ENCRYPTED, str(error)) from error
    except Exception as error:
        # Whatever a damaged file makes the parser stumble over: it is this file's damage, and it is named.
        raise UnusableFileError(Problem.BROKEN, f"{type(error).__name__}: {error}") from error
    if not any(pages):
        raise UnusableFileError(Problem.SCANNED if pages else Problem.EMPTY)
    text = "\n".join(_without_running_lines([page.splitlines() for page in pages if page]))
    return Parsed(title, HYPHENATED.sub("", text))


def _without_running_lines(pages: list[list[str]]) -> list[str]:
    edges = Counter(edge for page in pages for edge in {_edge(page[0]), _edge(page[-1])})
    running = {
        edge for edge, count in edges.items() if len(pages) >= MIN_PAGES and count >= REPEATED_SHARE * len(pages)
    }
    kept = []
    for page in pages:
        last = len(page) - 1
        lines = [line for at, line in enumerate(page) if at not in (0, last) or _edge(line) not in running]
        kept.append("\n".join(lines))
    return kept


def _edge(line: str) -> str:
    """Return a line without its numbers, by which headers and footers of two pages differ."""
    return " ".join(re.sub(r"\d+", "", line).split()).casefold()
