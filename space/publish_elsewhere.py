"""The part of the Publish page for a model that was trained elsewhere: measured first, then published with the scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from hfembed.errors import HfembedError
from hfembed.push import Pushed

from . import elsewhere, runs
from .compare_work import Work
from .elsewhere import Measured, Target, hub_id, last_measured, measure_here, preview_measured, push_measured
from .html import empty_box, error_of, tag, text
from .page import PRIVATE, Session
from .publishing import no_account, publishable
from .view_publish import card_html, files_html, published_html, warnings_html
from .view_report import metrics_html, verdict_html
from .view_run import when
from .visitors import Visitor, visitor_of

PRIVATE_REPO, PUBLIC_REPO = "Private", "Public"
TO_MAIN, BY_REQUEST = "Change it directly", "Open a pull request"
ABOUT = (
    "Any sentence-transformers model of the Hub: it is scored on the test of a run of yours, beside the base of that run "
    "and BM25, and published with a card that says so, in its own repo or in another."
)
NO_RUN = ("No run to measure on", "Finish a run on the Build page first: its held-out queries are the test.")


def elsewhere_section(session: Session) -> None:
    """Lay out the section and wire it."""
    with gr.Accordion("A model trained elsewhere", open=False, elem_id="elsewhere") as section:
        gr.HTML(tag("p", text(ABOUT), class_="hf-meta"))
        with gr.Row(equal_height=False, elem_classes="hf-publish-top"):
            model = gr.Textbox(label="Model", placeholder="org/name", max_length=200, scale=3, min_width=240)
            run = gr.Dropdown([], label="Measured on the test of", scale=3, min_width=240)
            measure = gr.Button("Measure", variant="primary", scale=1, min_width=120, elem_id="measure")
        result = gr.HTML("", elem_id="measured")
        with gr.Column(elem_id="elsewhere-form"):
            with gr.Row(equal_height=False):
                repo = gr.Textbox(label="Model repo", max_length=120, min_width=240)
                seen = gr.Radio([PRIVATE_REPO, PUBLIC_REPO], value=PRIVATE_REPO, label="Who may see a new repo")
                way = gr.Radio([TO_MAIN, BY_REQUEST], value=BY_REQUEST, label="If the repo is there already")
            preview = gr.HTML("")
            push = gr.Button("Publish this model", variant="primary", interactive=False, elem_id="push-elsewhere")
            reason = gr.HTML("")
        panel = gr.HTML("", elem_id="elsewhere-panel")
    fields: list[Any] = [repo, seen, way]
    looked: list[Any] = [preview, push, reason]
    heavy: dict[str, Any] = {**PRIVATE, "concurrency_id": "elsewhere", "concurrency_limit": 1}
    section.expand(open_section, session.token, [run, measure, model, result, *fields, *looked], **PRIVATE)
    measure.click(measure_model, [session.token, model, run], [measure, result, *fields, *looked, panel], **heavy)
    asked = [session.token, *fields]
    gr.on(
        [repo.blur, repo.submit, seen.input, way.input],
        show_preview,
        asked,
        looked,
        trigger_mode="always_last",
        **PRIVATE,
    )
    push.click(push_model, asked, [*looked, panel], **heavy)


def open_section(token: str, request: gr.Request) -> tuple[Any, ...]:
    """Show the runs that a model can be measured on, and what was measured last."""
    try:
        visitor = visitor_of(token, request)
        found = publishable(visitor)
    except HfembedError as error:
        return gr.skip(), gr.skip(), gr.skip(), error_of(error), *[gr.skip()] * 6
    choices = [(f"{one.launch.name} · {when(one.launch)}", one.id) for one in found]
    listed = gr.Dropdown(choices=choices, value=found[0].id if found else None)
    button, measured = gr.Button(interactive=bool(found)), last_measured(visitor)
    if measured is None:
        return (
            listed,
            button,
            gr.skip(),
            "" if found else empty_box(*NO_RUN),
            *[gr.skip()] * 6,
        )
    return listed, button, measured.name, *_shown(visitor, measured)


def measure_model(token: str, name: str, run: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Fetch a model and measure it, saying how far that is; it is done to the end even if nobody waits for it."""
    rest = [gr.skip()] * 7
    try:
        visitor = visitor_of(token, request)
        one, name = runs.find_run(visitor, run or ""), hub_id(name or "")
        work = Work(lambda report: measure_here(visitor, name, one, report), measured_html)
        for words in work.follow():
            yield gr.Button("Measuring", interactive=False), _working(words), *rest
        yield gr.Button("Measure", interactive=True), *_shown(visitor, work.result()), ""
    except HfembedError as error:
        yield gr.Button("Measure", interactive=True), error_of(error), *rest


def show_preview(token: str, repo: str, seen: str, way: str, request: gr.Request) -> tuple[Any, ...]:
    """Return the card and the files as they would be written now."""
    try:
        return _looked(visitor_of(token, request), _target(repo, seen, way))
    except HfembedError as error:
        return _refused(error)


def push_model(token: str, repo: str, seen: str, way: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Publish the measured model, saying how far that is."""
    target = _target(repo, seen, way)
    try:
        visitor = visitor_of(token, request)
        work = Work(lambda report: push_measured(visitor, target, report), _pushed_html)
        for words in work.follow():
            yield gr.skip(), gr.Button("Publishing", interactive=False), "", _working(words)
        work.result()
        yield *_looked(visitor, target), work.html()
    except HfembedError as error:
        yield gr.skip(), gr.Button("Try again", interactive=True), "", error_of(error)


def measured_html(measured: Measured) -> str:
    """Return what a model is worth on a run's test."""
    found = measured.found
    difference = found["difference"]
    rows = {
        metric: {**row, "tuned": row["model"], **difference[metric]}
        for metric, row in found["metrics"].items()
        if metric in difference
    }
    words = (
        f"{measured.name} against {measured.base}, on {found['queries']:,} held-out queries over {found['documents']:,} "
        f"documents of {measured.corpus}. Whether it had seen these documents before is not known."
    )
    verdict = verdict_html(difference["verdict"], difference["sentence"])
    return tag(
        "section", verdict, metrics_html(rows, "model"), tag("p", text(words), class_="hf-meta"), class_="hf-run"
    )


def _pushed_html(done: Pushed) -> str:
    return published_html([asdict(done.published)])


def _shown(visitor: Visitor, measured: Measured) -> tuple[Any, ...]:
    """Return what was measured, the form for where it goes, and what would be written there."""
    repo = measured.name.partition("@")[0]
    fields = repo, PRIVATE_REPO, BY_REQUEST
    try:
        looked = _looked(visitor, _target(*fields))
    except HfembedError as error:
        looked = _refused(error)
    return measured_html(measured), *fields, *looked


def _looked(visitor: Visitor, target: Target) -> tuple[Any, ...]:
    preview, missing = preview_measured(visitor, target)
    lacks = [f"The card lacks {sentence}." for sentence in missing]
    reason = no_account(visitor) or ("" if preview.changes_something() else elsewhere.NOTHING_NEW)
    inner = [
        files_html([preview], asked=visitor.has_account),
        card_html(preview, "model"),
        warnings_html(lacks),
    ]
    return "".join(inner), gr.Button("Publish this model", interactive=not reason), _reason(reason)


def _refused(error: HfembedError) -> tuple[Any, ...]:
    words = f"{error.message} {error.hint}".strip()
    return gr.skip(), gr.Button("Publish this model", interactive=False), _reason(words)


def _reason(words: str) -> str:
    return tag("p", text(words), class_="hf-reason", role="status") if words else ""


def _target(repo: str, seen: str, way: str) -> Target:
    return Target(repo or "", seen == PUBLIC_REPO, way == BY_REQUEST)


def _working(words: str) -> str:
    bar = tag("div", tag("span"), class_="hf-bar hf-unknown", role="progressbar", aria_label="Working")
    return tag("section", tag("p", text(words), class_="hf-task"), bar, class_="hf-run", role="status")
