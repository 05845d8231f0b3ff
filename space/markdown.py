"""Markdown of a card as HTML: no HTML of its own, no picture from elsewhere, no link but to the web."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from .view_report import picture

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# Nobody sees these on the Hub either.
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
WEB = ("https://", "http://", "mailto:")


def markdown_html(words: str, pictures: Mapping[str, bytes] | None = None) -> str:
    """Return Markdown as safe HTML. pictures: those that may be shown, by the path that the text calls them by."""
    environment: dict[str, Any] = {}
    tokens = _parser().parse(COMMENT.sub("", words), environment)
    for token in tokens:
        token.children = _harmless(token.children, pictures or {}) if token.children else token.children
    parser = _parser()
    return str(parser.renderer.render(tokens, parser.options, environment))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _harmless(tokens: list[Token], pictures: Mapping[str, bytes]) -> list[Token]:
    kept: list[Token] = []
    opened: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            opened.append(str(token.attrs.get("href", "")).startswith(WEB))
            token.attrs |= {"target": "_blank", "rel": "noopener noreferrer"}
        is_link = token.type in ("link_open", "link_close")
        if not is_link or opened[-1]:  # a link within the repo leads nowhere here: its words stay
            kept.append(_own_picture(token, pictures) if token.type == "image" else token)
        if token.type == "link_close":
            opened.pop()
    return kept


def _own_picture(token: Token, pictures: Mapping[str, bytes]) -> Token:
    content = pictures.get(str(token.attrs.get("src", "")))
    if content is None:  # its maker would see who looks at it
        from markdown_it.token import Token as Made

        return Made("text", "", 0, content=token.content)
    token.attrs["src"] = picture(content)
    return token
