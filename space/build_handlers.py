"""What happens on the Build page: every handler gives updates by the names of the page's parts, as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from hfembed.errors import HfembedError

from . import runs
from .build_launch import borrow, fill_form, find_price, launch, sample_queries
from .build_show import Shown, form_updates, show_all, show_choices, show_documents, show_reason, show_waiting
from .form import Form, read_form
from .html import empty_box, error_of, reason_line
from .memo import Memo, ask, check, settle
from .page import go_to, plain_words, shown
from .settings import Settings, read_settings
from .study import ask_prices, is_current, study_documents, weigh
from .view_preview import queries_html, working_box
from .view_summary import confirm_html
from .visitors import Visitor, visitor_of


def refresh(token: str, memo: Memo, asked: Any, request: gr.Request, *values: Any) -> Iterator[Shown]:
    """Bring the whole page up to date; what could not be looked at before is tried again."""
    if memo.study.error:
        memo = replace(memo, study=replace(memo.study, model=()))
    yield from show(token, memo, asked, request, *values)


def show(token: str, memo: Memo, asked: Any, request: gr.Request, *values: Any) -> Iterator[Shown]:
    """Show what follows from the form, looking at documents, prices and names where that was not done yet."""
    settings = read_settings()
    try:
        visitor = visitor_of(token, request)
        form, memo = settle(visitor, read_form(values), memo, settings)
        yield from _look(visitor, form, memo, asked, settings)
    except HfembedError as error:
        yield {"launch": gr.Button(interactive=False), "reason": error_of(error)}


def glance(token: str, memo: Memo, asked: Any, request: gr.Request, *values: Any) -> Iterator[Shown]:
    """Say at once what is wrong with what is being typed; nobody is asked."""
    settings, form = read_settings(), read_form(values)
    try:
        yield show_reason(visitor_of(token, request), form, memo, settings, asked)
    except HfembedError as error:
        yield {"launch": gr.Button(interactive=False), "reason": error_of(error)}


def show_queries(token: str, memo: Memo, asked: Any, request: gr.Request, *values: Any) -> Iterator[Shown]:
    """Show queries for five of the documents, as a run would write them."""
    settings, form = read_settings(), read_form(values)
    if memo.study.found is None or not is_current(memo.study, form):
        yield {"queries": empty_box("No queries yet", "Name your documents in step 1 first.")}
        return
    yield {"queries": working_box("Writing queries for five of your documents"), "sample": gr.Button(interactive=False)}
    try:
        made = sample_queries(visitor_of(token, request), form, settings, memo.study.found)
        yield {"queries": queries_html(made), "sample": gr.Button("Show me sample queries", interactive=True)}
    except HfembedError as error:
        yield {"queries": error_of(error), "sample": gr.Button("Show me sample queries", interactive=True)}


def launch_or_ask(token: str, memo: Memo, asked: Any, request: gr.Request, *values: Any) -> Iterator[Shown]:
    """Launch what costs nothing; of anything else, say for how long and for how much, and ask."""
    settings, form = read_settings(), read_form(values)
    yield {"launch": gr.Button("Launching", interactive=False), "question": ""}
    try:
        visitor = visitor_of(token, request)
        memo = ask(visitor, form, memo, settings)
        check(visitor, form, memo, settings)
        found = find_price(visitor, form, settings) if form.is_elsewhere else None
        if found is None or found.worst <= 0:
            yield _gone(launch(visitor, form, settings))
            return
        yield {
            "memo": memo,
            "launch": gr.Button("Launch", visible=shown(False)),
            "question": confirm_html(found),
            "asked": {"values": repr(form), "dollars": found.worst},
            "confirm": gr.Row(visible=True),
            "reason": reason_line(""),
        }
    except HfembedError as error:
        yield {"launch": gr.Button("Launch", interactive=True), "question": error_of(error)}


def confirm_launch(token: str, memo: Memo, asked: Any, request: gr.Request, *values: Any) -> Iterator[Shown]:
    """Launch what was agreed to, and nothing else."""
    settings, form = read_settings(), read_form(values)
    yield {"confirm": gr.Row(visible=shown(False)), "launch": gr.Button("Launching", visible=True, interactive=False)}
    try:
        if not asked or asked["values"] != repr(form):
            yield from _back(error="")
            return
        yield _gone(launch(visitor_of(token, request), form, settings, asked["dollars"]))
    except HfembedError as error:
        yield from _back(error=error_of(error))


def take_back(token: str, memo: Memo, asked: Any, request: gr.Request, *values: Any) -> Iterator[Shown]:
    """Take the question back; the form stays as it is."""
    yield from _back(error="")


def duplicate(token: str, run: str, request: gr.Request) -> list[Any]:
    """Return updates of the form's fields that fill it with what a run was launched with."""
    settings = read_settings()
    with plain_words():
        visitor = visitor_of(token, request)
        one = runs.bring(visitor, runs.find_run(visitor, run))
        attempt = one.launch.attempt
        form = fill_form(runs.recipe_of(visitor, one), attempt.launcher, attempt.flavor, one.launch.until, settings)
        return form_updates(replace(form, files=borrow(form.files)))


def _look(visitor: Visitor, form: Form, memo: Memo, asked: Any, settings: Settings) -> Iterator[Shown]:
    if not is_current(memo.study, form):
        yield show_waiting(form, "Looking at the documents")
        yield show_choices(visitor, form, memo, settings)
        memo = replace(memo, study=study_documents(visitor, form, settings, memo.study))
        yield {"memo": memo, **show_documents(form, memo.study)}
    if visitor.has_account:
        with suppress(HfembedError):  # the prices that are known do as well
            ask_prices(visitor)
    memo = replace(memo, study=weigh(visitor, form, settings, memo.study))
    form, memo = settle(visitor, form, memo, settings)
    memo = ask(visitor, form, memo, settings)
    yield show_all(visitor, form, memo, settings, asked)


def _gone(one: runs.VisitorRun) -> Shown:
    return {
        "chosen": one.id,
        "tabs": go_to("runs"),
        "launch": gr.Button("Launch", visible=True, interactive=True),
        "confirm": gr.Row(visible=shown(False)),
        "question": "",
        "asked": "",
        "reason": reason_line(""),
    }


def _back(error: str) -> Iterator[Shown]:
    yield {
        "launch": gr.Button("Launch", visible=True, interactive=True),
        "confirm": gr.Row(visible=shown(False)),
        "question": error,
        "asked": "",
    }
