"""HTML: the text of a page without its furniture, headings as Markdown."""

from __future__ import annotations

import re
from typing import Any

from hfembed.pull.files import Parsed, Problem, UnusableFileError, decode

FURNITURE = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "svg",
        "math",
        "canvas",
        "nav",
        "footer",
        "aside",
        "form",
        "button",
        "select",
        "iframe",
        "head",
        "object",
    ]
)
HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
BLOCKS = frozenset(
    [
        "address",
        "article",
        "blockquote",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "header",
        "hr",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "thead",
        "tr",
        "ul",
    ]
)
BEFORE = {**dict.fromkeys(BLOCKS, "\n\n"), **{tag: f"\n\n{signs} " for tag, signs in HEADINGS.items()}}
BEFORE |= {"li": "\n- ", "br": "\n", "tr": "\n", "td": " ", "th": " "}
AFTER = {**dict.fromkeys((*BLOCKS, *HEADINGS), "\n\n"), "td": " ", "th": " "}


def parse_html(raw: bytes) -> Parsed:
    """Return title and text of a page; what is broken in it is mended as browsers do."""
    from lxml import etree
    from lxml.html import HTMLParser, document_fromstring

    # Pages say in many ways how they are encoded, and not always the truth: UTF-8 is never so by accident.
    encoding = None if decode(raw)[1] else "utf-8"
    try:
        page: Any = document_fromstring(raw, parser=HTMLParser(encoding=encoding, remove_comments=True))
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise UnusableFileError(Problem.BROKEN if raw.strip() else Problem.EMPTY, str(error)) from error
    body = page.find("body")
    main = next((found for found in page.iter("main") if found.text_content().strip()), body)
    text = _tidy(_walk(main if main is not None else page))
    first = page.find(".//h1")
    heading = " ".join(first.text_content().split()) if first is not None else ""
    title = " ".join((page.findtext(".//title") or "").split())
    if heading and (heading in title or not title):  # "Heading - name of the site"
        title = heading
    return Parsed(title, text.removeprefix(f"# {title}\n").strip() if title else text)


def _walk(root: Any) -> str:
    from lxml import etree

    parts: list[str] = []
    preformatted = 0
    walker = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    for event, element in walker:
        tag = element.tag
        if event == "start":
            preformatted += tag == "pre"
            if tag in FURNITURE:
                walker.skip_subtree()
            else:
                parts += [BEFORE.get(tag, ""), _spaces(element.text, preformatted)]
            continue
        if event == "end":
            preformatted -= tag == "pre"
            parts.append(AFTER.get(tag, ""))
        if element is not root:
            parts.append(_spaces(element.tail, preformatted))
    return "".join(parts)


def _spaces(text: str | None, preformatted: int) -> str:
    return text or "" if preformatted else re.sub(r"\s+", " ", text or "")


def _tidy(text: str) -> str:
    text = re.sub(r"[ \t\xa0]*\n[ \t\xa0]*", "\n", text)
    text = re.sub(r"^(#{1,6}|-)\s*\n+(?=[^#\n-])", r"\1 ", text, flags=re.MULTILINE)
    text = re.sub(r"^(?:#{1,6}|-)[ \t]*$", "", text, flags=re.MULTILINE)
    return re.sub(r"[ \t]{2,}", " ", re.sub(r"\n{3,}", "\n\n", text)).strip()
