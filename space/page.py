"""Page: what every page of the front end is made of, and how one is brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import gradio as gr

from hfembed.errors import HfembedError

HIDDEN: Literal["hidden"] = "hidden"  # Gradio 6.17 sometimes fails to bring back what is not in the page at all
# A handler that only the page calls; what the world may call stands in api.py.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class Session:
    """What the pages of one browser share.

    token: the browser's secret. tabs: the pages, to go from one to another. chosen: the id of the run that is looked at.
    """

    token: gr.BrowserState
    tabs: gr.Tabs
    chosen: gr.State


@dataclass(frozen=True)
class Page:
    """A page: `refresh` gives what its outputs show now, when it is opened or loaded anew."""

    name: str
    refresh: Callable[..., Any]
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def refresh_on(self, event: Callable[..., Any]) -> Any:
        """Bring the page up to date whenever an event happens."""
        return event(self.refresh, self.inputs, self.outputs, **PRIVATE)


def shown(wanted: bool) -> bool | Literal["hidden"]:
    """Return the visibility of a component that comes and goes."""
    return wanted or HIDDEN


def go_to(name: str) -> gr.Tabs:
    """Open a page."""
    return gr.Tabs(selected=name)


@contextmanager
def plain_words() -> Iterator[None]:
    """Tell whoever asked, a program or a person, what went wrong in the words of the command line."""
    try:
        yield
    except HfembedError as error:
        raise gr.Error(f"{error.message} {error.hint}".strip(), print_exception=False) from error
