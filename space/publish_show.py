"""What the Publish page shows of a run: its report, what would be written, how the last push went."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import gradio as gr

from hfembed.errors import HfembedError
from hfembed.pipeline import manifests
from hfembed.push import Preview
from hfembed.push.limits import limitations
from hfembed.push.serving import Serving
from hfembed.run import LAYOUT
from hfembed.summary import summarize

from . import runs
from .follow import progress_of
from .html import tag, text
from .markdown import markdown_html
from .publishing import Wish, facts_of, look, no_account
from .runs import Status, VisitorRun
from .view_publish import card_html, failed_html, files_html, published_html, warnings_html
from .view_report import report_html
from .view_run import failure, log_html, work_html
from .visitors import Visitor

PUSH, AGAIN, PUSHING = "Publish", "Try again", "Publishing"
WORSE = "The model is worse than its base: it opens a pull request, and a person decides."
# The report draws the scores itself.
FIGURES = ("changes.png", "separation.png")
GOES_ON = "You may close this page: it goes on, and its links stand here when you come back."
NO_REPO = "No repo is named: name one for the model, for the data, or for both."
NOTHING_NEW = "The repos hold all of this already: nothing would change."


def report_section(visitor: Visitor, one: VisitorRun) -> str:
    """Return the report of a run with its caveats and figures."""
    facts = facts_of(visitor, one)
    sentences = limitations(facts, Serving.read(one.run.path(LAYOUT.model)))
    caveats = markdown_html("\n".join(f"- {sentence}" for sentence in sentences))
    figures = [file for name in FIGURES if (file := one.run.path(LAYOUT.figures) / name).is_file()]
    inner = report_html(summarize(one.run), tag("div", caveats, class_="hf-caveats"), figures)
    return tag("section", inner, class_="hf-run", aria_label="Report")


def looked(visitor: Visitor, one: VisitorRun, wish: Wish) -> tuple[Any, ...]:
    """Return both cards, the files, the notes, the button and why it cannot be pressed."""
    try:
        preview = look(visitor, one, wish)
    except HfembedError as error:
        return refused(error)
    state = runs.status(visitor, one)
    reason = why_not(visitor, preview) if state.is_over else ""
    again = state is Status.FAILED and one.launch.until == "push"
    words = PUSHING if not state.is_over else AGAIN if again else PUSH
    return (
        card_html(preview.of("model"), "model"),
        card_html(preview.of("dataset"), "dataset"),
        files_html(preview.repos, asked=visitor.has_account),
        warnings_html(_warnings(preview, wish)),
        gr.Button(words, interactive=state.is_over and not reason),
        tag("p", text(reason), class_="hf-reason", role="status") if reason else "",
    )


def refused(error: HfembedError) -> tuple[Any, ...]:
    """Return the same where the form asks for what cannot be."""
    words = tag("p", text(f"{error.message} {error.hint}".strip()), class_="hf-reason", role="status")
    return gr.skip(), gr.skip(), gr.skip(), "", gr.Button(PUSH, interactive=False), words


def why_not(visitor: Visitor, preview: Preview) -> str:
    """Return why nothing can be published, if so."""
    if missing := no_account(visitor):
        return missing
    if not preview.repos:
        return NO_REPO
    return "" if any(entry.changes_something() for entry in preview.repos) else NOTHING_NEW


def _warnings(preview: Preview, wish: Wish) -> list[str]:
    model = preview.of("model")
    asks = model is not None and model.pull_request and not wish.pull_request
    return [*([WORSE] if asks else []), *preview.warnings]


def pushed(visitor: Visitor, one: VisitorRun) -> tuple[Any, ...]:
    """Return how the last push goes or went, and whether to look again."""
    state = runs.status(visitor, one)
    if one.launch.until == "push" and not state.is_over:
        progress, attempt = progress_of(visitor, one), one.launch.attempt
        elapsed = time.time() - datetime.fromisoformat(attempt.submitted).timestamp()
        said = [line for line in progress.lines if line.stage == "push"]
        closing = tag("p", text(GOES_ON), class_="hf-meta")
        inner = work_html(progress, elapsed, attempt) + closing + log_html(said, opened=True)
        return tag("section", inner, class_="hf-run", aria_label="Publishing"), gr.Timer(active=True)
    if one.launch.until == "push" and state is Status.FAILED:
        return failed_html(*failure(runs.outcome(visitor, one))), gr.Timer(active=False)
    done = manifests(one.run).get("push")
    return published_html(done.facts["published"]) if done else "", gr.Timer(active=False)
