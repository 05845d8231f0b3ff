"""The Publish page: the report of a run, the cards as they will be written, and the push that goes on by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from hfembed.errors import HfembedError
from hfembed.recipe import CARD_LETTERS, TITLE_LETTERS

from . import runs
from .download import zip_model
from .html import empty_box, error_of, tag
from .page import HIDDEN, PRIVATE, Page, Session
from .publish_elsewhere import elsewhere_section
from .publish_show import AGAIN, PUSH, PUSHING, looked, pushed, refused, report_section
from .publishing import Wish, first_wish, publishable, push
from .runs import VisitorRun
from .view_publish import NO_RUN, size_words
from .view_run import when
from .visitors import visitor_of

POLL_SECONDS = 1.0
PRIVATE_REPOS, PUBLIC_REPOS = "Private", "Public"
TO_MAIN, BY_REQUEST = "Change it directly", "Open a pull request"
WORDS = {
    "title": ("Title", "The name of the repo stands there otherwise", 1),
    "summary": ("Summary", "What the model is, in a sentence or two", 2),
    "intended_use": ("What it is for", "Who searches for what with it, and what it is not for", 3),
    "limitations": ("Limits that you know of", "Those that the run found stand on the card anyway", 3),
    "contact": ("Whom to ask", "A name, an address: on both cards", 1),
    "dataset_summary": ("What the data is", "First on the card of the data", 2),
}
COUNT = 4 + len(WORDS)  # components of the form


@dataclass(frozen=True)
class PublishParts:
    """The components of the page. laid: the run whose values the form holds."""

    run: gr.Dropdown
    pack: gr.Button
    archive: gr.DownloadButton
    report: gr.HTML
    fields: list[Any]
    notes: gr.HTML
    push: gr.Button
    reason: gr.HTML
    model_card: gr.HTML
    dataset_card: gr.HTML
    files: gr.HTML
    panel: gr.HTML
    timer: gr.Timer
    laid: gr.State

    def opened(self) -> list[Any]:
        """Return what open_page gives, in its order."""
        return [self.run, self.laid, self.report, self.pack, self.archive, *self.fields]

    def looked_at(self) -> list[Any]:
        """Return what show_preview gives, in its order."""
        return [self.model_card, self.dataset_card, self.files, self.notes, self.push, self.reason]

    def pushed(self) -> list[Any]:
        """Return what show_push gives, in its order."""
        return [self.panel, self.timer]


def publish_page(session: Session) -> Page:
    """Lay out the page and wire it."""
    with gr.Row(equal_height=False, elem_classes="hf-publish-top"):
        run = gr.Dropdown([], label="Run", visible=HIDDEN, scale=4, min_width=240, elem_id="publish-run")
        pack = gr.Button("Download the model", visible=HIDDEN, scale=1, min_width=180, elem_id="pack")
        archive = gr.DownloadButton("Save", visible=HIDDEN, scale=1, min_width=180, elem_id="archive")
    report = gr.HTML(empty_box(*NO_RUN), elem_id="report", min_height=160)
    with gr.Column(elem_id="publish-form"):
        gr.HTML(tag("h2", "Publish it", class_="hf-section"))
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                fields, notes, button, reason = _form()
            with gr.Column(scale=3, min_width=320), gr.Tabs(elem_id="preview"):
                model_card, dataset_card, files = (
                    _preview(label) for label in ("Card of the model", "Card of the data", "Files")
                )
        panel = gr.HTML("", elem_id="push-panel")
    timer = gr.Timer(POLL_SECONDS, active=False)
    parts = PublishParts(
        run, pack, archive, report, fields, notes, button, reason, model_card, dataset_card, files, panel, timer,
        gr.State(""),
    )  # fmt: skip
    _wire(parts, session)
    elsewhere_section(session)
    asked = [session.token, session.chosen, parts.laid, *parts.fields]
    return Page("publish", open_page, asked, [*parts.opened(), *parts.looked_at(), *parts.pushed()])


def open_page(token: str, chosen: str, laid: str, request: gr.Request, *values: Any) -> tuple[Any, ...]:
    """Show the run that is looked at, or the newest; what was written for it stays written."""
    try:
        visitor = visitor_of(token, request)
        found = publishable(visitor)
        one = next((entry for entry in found if entry.id == chosen), None) or next(iter(found), None)
        if one is None:
            return _empty()
        is_new = laid != str(one.folder.name)
        wish = first_wish(visitor, one) if is_new else Wish.read(_as_wish(values))
        return (
            _listed(found, one),
            one.folder.name,
            report_section(visitor, one),
            gr.Button(visible=True),
            gr.DownloadButton(visible=HIDDEN) if is_new else gr.skip(),
            *(_as_values(wish) if is_new else [gr.skip()] * len(values)),
            *looked(visitor, one, wish),
            *pushed(visitor, one),
        )
    except HfembedError as error:
        return _empty(error_of(error))


def choose_run(token: str, chosen: str, laid: str, request: gr.Request, *values: Any) -> tuple[Any, ...]:
    """Show another run, for the whole Space."""
    return chosen, *open_page(token, chosen, laid, request, *values)


def show_preview(token: str, chosen: str, request: gr.Request, *values: Any) -> tuple[Any, ...]:
    """Return the cards and the files as they would be written now."""
    try:
        visitor = visitor_of(token, request)
        return looked(visitor, runs.find_run(visitor, chosen), Wish.read(_as_wish(values)))
    except HfembedError as error:
        return refused(error)


def push_run(token: str, chosen: str, request: gr.Request, *values: Any) -> tuple[Any, ...]:
    """Publish the chosen run; return its id as it is now, and how that goes."""
    try:
        visitor = visitor_of(token, request)
        one = push(visitor, runs.find_run(visitor, chosen), Wish.read(_as_wish(values)))
        listed = _listed(publishable(visitor), one)
        return one.id, listed, gr.Button(PUSHING, interactive=False), *pushed(visitor, one)
    except HfembedError as error:
        return gr.skip(), gr.skip(), gr.Button(AGAIN), error_of(error), gr.Timer(active=False)


def show_push(token: str, chosen: str, request: gr.Request, *values: Any) -> tuple[Any, ...]:
    """Return how the push goes, and once it is over what can be done then."""
    try:
        visitor = visitor_of(token, request)
        one = runs.find_run(visitor, chosen)
        over = runs.status(visitor, one).is_over
        seen = looked(visitor, one, Wish.read(_as_wish(values))) if over else [gr.skip()] * 6
        return *seen, *pushed(visitor, one)
    except HfembedError as error:
        return *[gr.skip()] * 6, error_of(error), gr.Timer(active=False)


def pack_model(token: str, chosen: str, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:
    """Make one file of the model, and offer it."""
    try:
        visitor = visitor_of(token, request)
        file = zip_model(runs.find_run(visitor, chosen), lambda share: progress(share, "Packing the model"))
    except HfembedError as error:
        return gr.skip(), gr.skip(), error_of(error)
    words = f"Save it ({size_words(file.stat().st_size)})"
    return gr.Button(visible=HIDDEN), gr.DownloadButton(words, value=str(file), visible=True), gr.skip()


def _form() -> tuple[list[Any], gr.HTML, gr.Button, gr.HTML]:
    model = gr.Textbox(label="Model repo", placeholder="org/name; empty: not published", max_length=120)
    dataset = gr.Textbox(label="Data repo", placeholder="org/name; empty: not published", max_length=120)
    visibility = gr.Radio(
        [PRIVATE_REPOS, PUBLIC_REPOS],
        value=PRIVATE_REPOS,
        label="Who may see new repos",
        info="You can change it later",
    )
    way = gr.Radio([TO_MAIN, BY_REQUEST], value=TO_MAIN, label="If the model repo is there already")
    with gr.Accordion("Words of yours on the cards", open=False, elem_id="card-words"):
        words = [
            gr.Textbox(label=label, info=about, lines=lines, max_lines=8, max_length=_letters(name))
            for name, (label, about, lines) in WORDS.items()
        ]
    notes = gr.HTML("", elem_id="publish-notes")
    button = gr.Button(PUSH, variant="primary", size="lg", interactive=False, elem_id="push")
    reason = gr.HTML("", elem_id="push-reason")
    return [model, dataset, visibility, way, *words], notes, button, reason


def _preview(label: str) -> gr.HTML:
    with gr.Tab(label):
        return gr.HTML("", min_height=120, elem_classes="hf-pub-preview")


def _listed(found: list[VisitorRun], one: VisitorRun) -> gr.Dropdown:
    choices = [(f"{entry.launch.name} · {when(entry.launch)}", entry.id) for entry in found]
    return gr.Dropdown(choices=choices, value=one.id, visible=True)


def _letters(name: str) -> int:
    return TITLE_LETTERS if name == "title" else CARD_LETTERS


def _wire(parts: PublishParts, session: Session) -> None:
    asked: list[Any] = [session.token, parts.run, *parts.fields]  # the run that is shown, whatever other pages look at
    whole = [*parts.opened(), *parts.looked_at(), *parts.pushed()]
    parts.run.input(
        choose_run, [session.token, parts.run, parts.laid, *parts.fields], [session.chosen, *whole], **PRIVATE
    )
    changed = [field.input if isinstance(field, gr.Radio) else field.blur for field in parts.fields]
    changed += [field.submit for field in parts.fields if isinstance(field, gr.Textbox) and field.lines == 1]
    gr.on(changed, show_preview, asked, parts.looked_at(), trigger_mode="always_last", **PRIVATE)
    parts.push.click(push_run, asked, [session.chosen, parts.run, parts.push, *parts.pushed()], **PRIVATE)
    parts.timer.tick(show_push, asked, [*parts.looked_at(), *parts.pushed()], concurrency_limit=None, **PRIVATE)
    packing = {**PRIVATE, "show_progress": "full", "show_progress_on": parts.pack}
    packed = parts.pack.click(
        pack_model, [session.token, parts.run], [parts.pack, parts.archive, parts.panel], **packing
    )
    packed.then(None, js="() => setTimeout(() => document.querySelector('#archive')?.click(), 500)", **PRIVATE)


def _empty(words: str = "") -> tuple[Any, ...]:
    """Return the page without a run, or with why there is none."""
    hidden = [gr.Button(visible=HIDDEN), gr.DownloadButton(visible=HIDDEN)]
    rest = [gr.skip()] * (COUNT + 6)
    return gr.Dropdown(visible=HIDDEN), "", words or empty_box(*NO_RUN), *hidden, *rest, "", gr.Timer(active=False)


def _as_wish(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what the components hold as the fields of a wish."""
    model, dataset, visibility, way, *words = values
    return model, dataset, visibility == PUBLIC_REPOS, way == BY_REQUEST, *words


def _as_values(wish: Wish) -> tuple[Any, ...]:
    """Return a wish as the components hold it."""
    words = [getattr(wish, name) for name in WORDS]
    visibility = PUBLIC_REPOS if wish.public else PRIVATE_REPOS
    return wish.model_repo, wish.dataset_repo, visibility, BY_REQUEST if wish.pull_request else TO_MAIN, *words
