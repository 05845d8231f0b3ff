"""Text files, pages and office documents: their title, and their text with its headings as Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from hfembed.stage import require

# What each form needs beyond the base install; all of it comes with the extra `files`.
LIBRARIES = {
    ".html": "lxml", ".htm": "lxml", ".pdf": "pypdf", ".docx": "docx",
    ".ttl": "pyoxigraph", ".owl": "pyoxigraph", ".rdf": "pyoxigraph",
}  # fmt: skip
FRONT_MATTER = re.compile(r"---\n(.*?)\n---[ \t]*(?:\n|$)", re.DOTALL)
MAX_TITLE = 200
NO_TITLE = re.compile(r"(?i)untitled|unbenannt|sans titre|document\d*|title|(microsoft )?(word|powerpoint|excel) - .*")
FILE_NAME = re.compile(r"(?i).*\.(docx?|pdf|html?|tex|dvi|indd|qxd|pptx?|xlsx?|odt|rtf|txt|md)")


class Problem(StrEnum):
    """Why a file gives no document."""

    BROKEN = "broken_file"
    ENCRYPTED = "encrypted_file"
    EMPTY = "empty_file"
    SCANNED = "scanned_pdf"


class UnusableFileError(Exception):
    """Raised when a file gives no text; the corpus goes on without it."""

    def __init__(self, problem: Problem, detail: str = "") -> None:
        """Keep what is wrong and what the parser said."""
        super().__init__(detail)
        self.problem, self.detail = problem, detail


@dataclass(frozen=True)
class Parsed:
    """What a file says."""

    title: str
    text: str
    invalid_utf8: bool = False


def require_parsers(suffixes: set[str]) -> None:
    """Refuse to begin where a library is missing that one of these forms needs."""
    require("files", *sorted({LIBRARIES[suffix] for suffix in suffixes & set(LIBRARIES)}))


def parse_file(file: Path, max_chars: int) -> Parsed:
    """Read one file by its suffix; a broken, encrypted or empty one raises UnusableFileError."""
    suffix = file.suffix.lower()
    if not file.stat().st_size:
        raise UnusableFileError(Problem.EMPTY)
    if suffix == ".pdf":
        from hfembed.pull.pdf import parse_pdf

        parsed = parse_pdf(file, max_chars)
    elif suffix == ".docx":
        from hfembed.pull.docx import parse_docx

        parsed = parse_docx(file, max_chars)
    elif suffix in (".html", ".htm"):
        from hfembed.pull.html import parse_html

        parsed = parse_html(file.read_bytes())
    else:
        return _parse_text(file.read_bytes(), markdown=suffix != ".txt")
    if not parsed.text.strip():
        raise UnusableFileError(Problem.EMPTY)
    return Parsed(choose_title(parsed.title, file), parsed.text)


def decode(raw: bytes) -> tuple[str, bool]:
    """Return bytes as text, and whether some were not UTF-8."""
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("utf-8", errors="replace"), True


def choose_title(title: str, file: Path) -> str:
    """Return a title that tells something; the words of the file's name where the metadata do not."""
    title = " ".join(title.split())
    senseless = NO_TITLE.fullmatch(title) or FILE_NAME.fullmatch(title) or not re.search(r"[^\W\d_]{2}", title)
    if senseless or len(title) > MAX_TITLE:
        return " ".join(re.sub(r"[\W_]+", " ", file.stem).split())
    return title


def _parse_text(raw: bytes, *, markdown: bool) -> Parsed:
    text, invalid = decode(raw)
    text = text.lstrip("\ufeff")
    if not text.strip():
        raise UnusableFileError(Problem.EMPTY)
    if not markdown:
        return Parsed("", text, invalid)
    title, text = _split_front_matter(text.replace("\r\n", "\n"))
    first, _, rest = text.lstrip(" \n").partition("\n")
    heading = first.lstrip("# ").strip() if first.startswith("#") else ""
    if heading and title in ("", heading):
        return Parsed(heading, rest, invalid)
    return Parsed(title, text, invalid)


def _split_front_matter(text: str) -> tuple[str, str]:
    """Return the title that the YAML at the head of a page gives, and what follows it."""
    match = FRONT_MATTER.match(text)
    try:
        values = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        values = None
    if match is None or not isinstance(values, dict):
        return "", text
    title = values.get("title")
    return title.strip() if isinstance(title, str) else "", text[match.end() :]
