"""The Runs page: a visitor's runs, and the one that is looked at, as it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from hfembed.errors import HfembedError

from . import runs
from .follow import bring_here, progress_of
from .html import error_of
from .page import HIDDEN as HIDDEN
from .page import PRIVATE, Page, Session, go_to, shown
from .progress import Progress
from .runs import Status, VisitorRun
from .view_run import run_html, run_label
from .visitors import Visitor, visitor_of

POLL_SECONDS = 1.0
AT_ONCE = 8


@dataclass(frozen=True)
class RunsParts:
    """The components of the page."""

    listed: gr.Radio
    panel: gr.HTML
    cancel: gr.Button
    resume: gr.Button
    duplicate: gr.Button
    compare: gr.Button
    publish: gr.Button
    remove: gr.Button
    timer: gr.Timer

    def shown(self) -> list[Any]:
        """Return what show_run gives, in its order."""
        return [self.panel, *self.buttons(), self.timer]

    def buttons(self) -> list[gr.Button]:
        """Return the buttons below the run."""
        return [self.cancel, self.resume, self.compare, self.publish, self.duplicate, self.remove]


@dataclass(frozen=True)
class RunsPage(Page):
    """The page, and the button that fills the form of the Build page anew."""

    again: gr.Button = field(kw_only=True)


def runs_page(session: Session) -> RunsPage:
    """Lay out the page and wire it."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=260):
            listed = gr.Radio([], label="Your runs", elem_id="runs", visible=HIDDEN)
        with gr.Column(scale=3, min_width=320):
            panel = gr.HTML(run_html(None, Status.WAITING, Progress(), None), elem_id="run", min_height=160)
            with gr.Row(elem_classes="hf-buttons"):
                cancel = _button("Cancel", "cancel")
                resume = _button("Continue", "resume")
                compare = _button("Compare it with its base", "to-compare", "primary")
                publish = _button("Publish it", "to-publish")
                duplicate = _button("Duplicate with changes", "duplicate")
                remove = _button("Remove from this list", "remove")
    parts = RunsParts(
        listed, panel, cancel, resume, duplicate, compare, publish, remove, gr.Timer(POLL_SECONDS, active=False)
    )
    _wire(parts, session)
    outputs = [parts.listed, session.chosen, *parts.shown()]
    return RunsPage("runs", open_page, [session.token, session.chosen], outputs, again=duplicate)


def open_page(token: str, chosen: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Show the runs that are here at once, then those that the Hub keeps too."""
    try:
        visitor = visitor_of(token, request)
        yield _opened(visitor, runs.runs_here(visitor), chosen)
        if visitor.has_account:
            yield _opened(visitor, runs.runs_of(visitor), chosen)
    except HfembedError as error:
        yield gr.skip(), gr.skip(), error_of(error), *_hidden(), gr.Timer(active=False)


def show_run(token: str, chosen: str, request: gr.Request) -> tuple[Any, ...]:
    """Return what the page shows of the chosen run now."""
    try:
        visitor = visitor_of(token, request)
        return _shown(visitor, runs.find_run(visitor, chosen) if chosen else None)
    except HfembedError as error:
        return error_of(error), *_hidden(), gr.Timer(active=False)


def cancel_run(token: str, chosen: str, request: gr.Request) -> tuple[Any, ...]:
    """Cancel the chosen run, and show what is left."""
    return _act(runs.cancel, token, chosen, request)


def resume_run(token: str, chosen: str, request: gr.Request) -> tuple[Any, ...]:
    """Go on with the chosen run, and show it."""
    return _act(runs.resume, token, chosen, request)


def remove_run(token: str, chosen: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Forget what is here of the chosen run, and show the others."""
    try:
        visitor = visitor_of(token, request)
        runs.delete(visitor, runs.find_run(visitor, chosen))
    except HfembedError as error:
        yield gr.skip(), gr.skip(), error_of(error), *_hidden(), gr.Timer(active=False)
        return
    yield from open_page(token, "", request)


def _button(words: str, name: str, variant: Any = "secondary") -> gr.Button:
    return gr.Button(words, variant=variant, visible=HIDDEN, elem_id=name, size="md", min_width=120)


def _wire(parts: RunsParts, session: Session) -> None:
    asked = [session.token, session.chosen]
    free: dict[str, Any] = {"concurrency_limit": None, **PRIVATE}
    shown_parts: list[Any] = parts.shown()
    parts.listed.input(lambda chosen: chosen, parts.listed, session.chosen, **PRIVATE).then(
        show_run, asked, shown_parts, **free
    )
    parts.timer.tick(show_run, asked, shown_parts, **free)
    parts.cancel.click(cancel_run, asked, shown_parts, **free)
    parts.resume.click(resume_run, asked, shown_parts, **free)
    parts.remove.click(remove_run, asked, [parts.listed, session.chosen, *shown_parts], **PRIVATE)
    parts.compare.click(lambda: go_to("compare"), None, session.tabs, **PRIVATE)
    parts.publish.click(lambda: go_to("publish"), None, session.tabs, **PRIVATE)


def _opened(visitor: Visitor, found: list[VisitorRun], chosen: str) -> tuple[Any, ...]:
    states = _states(visitor, found)
    known = {one.id: one for one in found}
    one = known.get(chosen) or next(iter(found), None)
    choices = [(run_label(entry.launch, states[entry.id]), entry.id) for entry in found]
    listed = gr.Radio(choices=choices, value=one.id if one else None, visible=shown(bool(found)))
    return listed, one.id if one else "", *_shown(visitor, one, states.get(one.id) if one else None)


def _states(visitor: Visitor, found: list[VisitorRun]) -> dict[str, Status]:
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="states") as threads:
        asked = {one.id: threads.submit(copy_context().run, runs.status, visitor, one) for one in found}
        return {identity: answer.result() for identity, answer in asked.items()}


def _shown(visitor: Visitor, one: VisitorRun | None, known: Status | None = None) -> tuple[Any, ...]:
    if one is None:
        return run_html(None, Status.WAITING, Progress(), None), *_hidden(), gr.Timer(active=False)
    state = known or runs.status(visitor, one)
    is_coming = state is Status.FINISHED and not one.is_whole
    progress = bring_here(visitor, one) if is_coming else progress_of(visitor, one)
    ended = runs.outcome(visitor, one) if state is Status.FAILED else None
    moves = not state.is_over or (is_coming and not progress.lost)
    return run_html(one, state, progress, ended), *_buttons(one, state), gr.Timer(active=moves)


def _buttons(one: VisitorRun, state: Status) -> list[gr.Button]:
    ended_early = state in (Status.CANCELLED, Status.FAILED)
    done = state is Status.FINISHED and one.has_model
    return [
        gr.Button(visible=shown(not state.is_over)),
        gr.Button("Continue" if state is Status.CANCELLED else "Try again", visible=shown(ended_early)),
        gr.Button(visible=shown(done)),
        gr.Button(visible=shown(done)),
        gr.Button(visible=shown(state.is_over)),
        gr.Button(visible=shown(state.is_over)),
    ]


def _hidden() -> list[gr.Button]:
    return [gr.Button(visible=HIDDEN) for _ in range(6)]


def _act(action: Callable[[Visitor, VisitorRun], Any], token: str, chosen: str, request: gr.Request) -> tuple[Any, ...]:
    try:
        visitor = visitor_of(token, request)
        action(visitor, runs.find_run(visitor, chosen))
        return _shown(visitor, runs.find_run(visitor, chosen))
    except HfembedError as error:
        return error_of(error), *show_run(token, chosen, request)[1:]
