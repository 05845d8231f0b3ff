"""Finding a dataset of the Hub while its name is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import gradio as gr

from hfembed.errors import HfembedError
from hfembed.hub.search import LEAST_LETTERS, FoundDataset, search_datasets

from .html import error_of, tag, text
from .latest import MOST, Latest
from .visitors import Visitor, visitor_of

# Whoever types on within this is not asked for yet.
PAUSE_SECONDS = 0.25
# A click tells which dataset was meant; the arrow keys go from the box into the list, and up and down in it.
SCRIPT = """
element.addEventListener('click', event => {
  const one = event.target.closest('button[data-repo]');
  if (one) trigger('select', {repo: one.dataset.repo});
});
const move = (event, step) => {
  const all = [...element.querySelectorAll('button[data-repo]')];
  const next = all[all.indexOf(document.activeElement) + step];
  if (next) { next.focus(); event.preventDefault(); }
};
document.addEventListener('keydown', event => {
  const inside = element.contains(document.activeElement) || document.activeElement?.closest('#dataset');
  if (inside && event.key === 'ArrowDown') move(event, 1);
  if (inside && event.key === 'ArrowUp') move(event, -1);
});
"""
_latest = Latest()
_picked: dict[str, str] = {}


async def search(token: str, words: str, request: gr.Request) -> Any:
    """Show the datasets whose names hold what was typed; an answer that came too late is not shown."""
    who = _who(token, request)
    if _picked.get(who) == words:  # the box was filled by choosing, not by typing
        return ""
    number = _latest.take(who)
    await asyncio.sleep(PAUSE_SECONDS)
    if not _latest.is_latest(who, number):
        return gr.skip()
    found = await asyncio.to_thread(_answer, token, words, request)
    return found if _latest.is_latest(who, number) else gr.skip()


def forget(token: str, request: gr.Request | None, picked: str) -> None:
    """Show no answer that is still on its way: a dataset has been chosen."""
    who = _who(token, request)
    _latest.take(who)
    if len(_picked) >= MOST:
        _picked.clear()
    _picked[who] = picked


def found_html(words: str, found: Sequence[FoundDataset]) -> str:
    """Return what was found as a list of buttons."""
    if not words.strip():
        return ""
    if not found:
        return tag("p", text(f"Nothing is called like “{words.strip()}”."), class_="hf-meta", role="status")
    items = (tag("li", tag("button", *_told(one), type="button", data_repo=one.repo)) for one in found)
    return tag("ul", *items, class_="hf-found", aria_label="Datasets found")


def _who(token: str, request: gr.Request | None) -> str:
    return f"{token} {request.session_hash if request else ''}"


def _answer(token: str, words: str, request: gr.Request) -> str:
    try:
        return _search(visitor_of(token, request), words)
    except HfembedError as error:
        return error_of(error)


def _search(visitor: Visitor, words: str) -> str:
    name = words.strip().partition("@")[0].partition(":")[0]
    with visitor.acting():
        found = search_datasets(name, visitor.name)
    if [one.repo for one in found] == [name]:  # it stands in the box already
        return ""
    return found_html(words, found) if found or len(name) > LEAST_LETTERS else ""


def _told(one: FoundDataset) -> list[str]:
    marks = [word for word, is_so in (("private", one.is_private), ("asks for access", one.is_gated)) if is_so]
    counted = [f"{one.downloads:,} downloads", f"{one.likes:,} likes", one.rows, *marks]
    return [tag("b", text(one.repo)), tag("span", text(" · ".join(part for part in counted if part)))]
