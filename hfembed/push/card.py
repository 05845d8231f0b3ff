"""Card: a template and its metadata become README.md, checked before anything is sent."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2

from hfembed.errors import HubError
from hfembed.hub.cards import hub_link
from hfembed.push.origins import read_front_matter
from hfembed.resources import cards_folder

if TYPE_CHECKING:
    from hfembed.hub.cards import CardData

MARKUP = re.compile(r"([\\`*_\[\]|<>#$~])")
# What a person wrote may hold these; all else is text. At the head of a line `=` and `+` are markup too.
ADDRESS = re.compile(r"https?://[^\s<>\"'`|\\]*[\w/]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
BULLET = re.compile(r"[-*•]\s+")
LINE_HEAD = re.compile(r"^([-+=])")
CELL_LETTERS = 110


def render_card(template: str, metadata: CardData, **values: Any) -> str:
    """Return a card: YAML front matter, then the rendered template; refuse one that does not read back."""
    return join_card(metadata, render_text(template, **values))


def render_text(template: str, **values: Any) -> str:
    """Return the text of a template, without front matter."""
    return re.sub(r"\n{3,}", "\n\n", _environment().get_template(template).render(**values))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(cards_folder()),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters.update(
        cell=cell, link=hub_link, duration=duration, text=python_text, small=small_number, request=shell_request,
        prose=prose,
    )  # fmt: skip
    return environment


def join_card(metadata: CardData, body: str) -> str:
    """Put front matter and text together, and check the result as the Hub's own client reads it."""
    card = f"---\n{metadata.to_yaml().strip()}\n---\n\n{body.strip()}\n"
    check_card(card, metadata)
    return card


def check_card(card: str, metadata: CardData) -> None:
    """Refuse a card whose front matter is not what was meant to stand in it."""
    try:
        read = type(metadata)(**read_front_matter(card))
    except (TypeError, ValueError, KeyError) as error:
        raise HubError(f"The card's metadata cannot be read back: {error}.") from error
    meant, found = as_dict(metadata), as_dict(read)
    if found != meant:
        changed = sorted(key for key in {**found, **meant} if found.get(key) != meant.get(key))
        raise HubError(f"The card's metadata reads back differently: {', '.join(changed)}.")


def as_dict(metadata: CardData) -> dict[str, Any]:
    """Return metadata as it stands in the front matter."""
    values: dict[str, Any] = metadata.to_dict()  # type: ignore[no-untyped-call]
    return values


def cell(text: object, letters: int = CELL_LETTERS) -> str:
    """Return text for a table cell: one line, not too long, nothing in it taken for markup."""
    line = " ".join(str(text).split())
    if len(line) > letters:
        line = line[: letters - 1].rstrip() + "…"
    return MARKUP.sub(r"\\\1", line)


def prose(text: str) -> str:
    """Return what a person wrote as Markdown: paragraphs, lists and addresses stay so, nothing else is markup."""
    lines: list[str] = []
    for line in map(str.strip, text.splitlines()):
        bullet = BULLET.match(line)
        if bullet and lines and lines[-1] and not lines[-1].startswith("- "):
            lines.append("")  # a list begins after an empty line
        lines.append(f"- {_escape(line[bullet.end() :])}" if bullet else _escape(line))
    return "\n".join(lines).strip()


def _escape(line: str) -> str:
    parts, at = [], 0
    for found in ADDRESS.finditer(line):
        parts += [MARKUP.sub(r"\\\1", line[at : found.start()]), f"<{found[0]}>"]
        at = found.end()
    return LINE_HEAD.sub(r"\\\1", "".join([*parts, MARKUP.sub(r"\\\1", line[at:])]))


def python_text(text: object, letters: int = 80) -> str:
    """Return text as a Python and JavaScript string of one line."""
    line = " ".join(str(text).split())
    if len(line) > letters:
        line = line[:letters].rsplit(" ", 1)[0]
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shell_request(text: object) -> str:
    """Return a text as the body of a request on a command line."""
    return shlex.quote(json.dumps({"inputs": json.loads(python_text(text))}, ensure_ascii=False))


def small_number(value: float) -> str:
    """Return a number with as many digits as say something."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
