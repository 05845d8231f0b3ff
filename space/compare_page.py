"""The Compare page: models side by side on a query, blind, on many queries, and as maps of the corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from hfembed.compare import BASE
from hfembed.corpus import SAMPLE

from .compare_answers import (
    ASK,
    ASK_MAP,
    MAP,
    MODES,
    SIDE,
    answer,
    ask_file,
    ask_known,
    change_corpus,
    draw,
    drill_down,
    finish,
    follow,
    open_page,
)  # fmt: skip
from .compare_blind import blind_part
from .html import empty_box
from .page import HIDDEN, PRIVATE, Page, Session
from .search import MOST_MODELS, MOST_QUERY, warm_up

SCRIPT = Path(__file__).with_suffix("").with_name("compare.js").read_text(encoding="utf-8")
# Searches that may be under way at once; most wait for a model to be loaded, and what is loaded answers at once.
SEARCHES = 16
QUERY_FILES = [".txt", ".jsonl", ".ndjson", ".csv", ".tsv"]
MANY_HELP = (
    "Many queries at once",
    "Ask the test queries of the corpus, or your own file: a query on each line of a .txt file, or a .jsonl, .csv or .tsv "
    "file with query and, where you know the answers, positive_id.",
)
# The address follows what is shown, so that it can be kept and sent on.
SET_ADDRESS = """(corpus, models, query) => {
  const address = new URL(window.location.href);
  if (address.searchParams.get("tab") !== "compare") return;  // another page is looked at
  const run = (corpus || "").startsWith("run:") ? corpus.slice(4) : "";
  const told = { run, corpus: run ? "" : corpus, models: (models || []).join(","), q: query };
  for (const [key, value] of Object.entries(told)) value ? address.searchParams.set(key, value) : address.searchParams.delete(key);
  window.history.replaceState(null, "", address);
}"""
# What was asked is answered side by side, unless the map is looked at.
BACK_TO_PASSAGES = f"mode => mode === '{MAP}' ? mode : '{SIDE}'"
COPY_ADDRESS = """async () => {
  const button = document.querySelector("#copy-link");
  const told = button.innerText;
  try { await navigator.clipboard.writeText(window.location.href); button.innerText = "Copied"; }
  catch { window.prompt("Copy this address", window.location.href); }
  setTimeout(() => { button.innerText = told; }, 1500);
}"""


@dataclass(frozen=True)
class Fields:
    """What is compared, and on what."""

    token: gr.BrowserState
    corpus: gr.Dropdown
    models: gr.Dropdown
    query: gr.Textbox
    search: gr.Button
    examples: gr.Dataset

    def inputs(self) -> list[Any]:
        """Return what a handler of a query takes, in its order."""
        return [self.token, self.corpus, self.models, self.query]


def compare_page(session: Session) -> Page:
    """Lay out the page and wire it."""
    with gr.Column(elem_id="compare"):
        return _compare_page(session)


def _compare_page(session: Session) -> Page:
    fields = _fields(session)
    opened, asked, to_draw = gr.State(None), gr.State(""), gr.State(None)
    heavy: dict[str, Any] = {**PRIVATE, "concurrency_limit": SEARCHES, "concurrency_id": "search"}
    # Which part is shown follows from the choice by a rule of the style sheet alone.
    with gr.Row(elem_classes="hf-modes"):
        mode = gr.Radio(list(MODES), value=SIDE, show_label=False, elem_id="compare-mode", container=False, scale=1)
        copy = gr.Button("Copy link", size="sm", elem_id="copy-link", min_width=110, variant="secondary", scale=0)
    with gr.Column(elem_id="mode-side"):
        panel = gr.HTML(empty_box(*ASK), elem_id="comparison", min_height=160, js_on_load=SCRIPT)
    with gr.Column(elem_id="mode-blind"):
        blind_part(session.token, fields.corpus, fields.models, fields.query, SCRIPT)
    with gr.Column(elem_id="mode-many"):
        table = _many(session, fields, heavy)
    with gr.Column(elem_id="mode-map"):
        plane = gr.HTML(empty_box(*ASK_MAP), elem_id="map", min_height=160, js_on_load=SCRIPT)
    work, drawing = work_of(panel, heavy), work_of(plane, heavy)
    for event in (mode.change, to_draw.change):
        event(draw, [*fields.inputs(), mode], [plane, drawing], **heavy)
    copy.click(None, None, None, js=COPY_ADDRESS, **PRIVATE)

    def search(event: Any) -> None:
        """Answer the query, keep the address, and where the map is looked at draw that too."""
        event(None, mode, mode, js=BACK_TO_PASSAGES, **PRIVATE)
        event(None, fields.inputs()[1:], None, js=SET_ADDRESS, **PRIVATE)
        event(answer, [*fields.inputs(), mode], [panel, work, to_draw], **heavy)

    search(fields.search.click)
    search(fields.query.submit)
    search(fields.examples.click(_first, fields.examples, fields.query, **PRIVATE).then)
    search(asked.change)
    search(table.click(drill_down, None, fields.query, **PRIVATE).then)
    fields.query.focus(warm_up, None, None, **PRIVATE)
    fields.corpus.change(
        change_corpus, [session.token, fields.corpus, fields.models], [fields.models, fields.examples], **PRIVATE
    )
    return Page(
        "compare",
        open_page,
        [session.token, session.chosen, fields.corpus, fields.models, opened],
        [fields.corpus, fields.models, fields.examples, fields.query, opened, asked, panel],
    )


def work_of(panel: gr.HTML, heavy: dict[str, Any]) -> gr.State:
    """Return where a task is put that takes longer: how far it is, and what comes of it, is shown in the panel."""
    work = gr.State(None)
    work.change(follow, work, panel, **heavy).then(finish, work, panel, **PRIVATE)
    return work


def _fields(session: Session) -> Fields:
    with gr.Row():
        corpus = gr.Dropdown(
            [("sample corpus", SAMPLE)], value=SAMPLE, label="Corpus", allow_custom_value=True, scale=2, min_width=240,
            info="Of your runs, the sample, or a dataset or an index of the Hub: org/name", elem_id="compare-corpus",
        )  # fmt: skip
        models = gr.Dropdown(
            [("base", BASE)], value=[], label="Models", multiselect=True, max_choices=MOST_MODELS, scale=4,
            allow_custom_value=True, min_width=280, elem_id="compare-models",
            info=f"Up to {MOST_MODELS}; the first is what the others are measured against. Also org/name of the Hub",
        )  # fmt: skip
    with gr.Row(elem_classes="hf-search"):
        query = gr.Textbox(
            label="Query", placeholder="What would somebody ask?", max_length=MOST_QUERY, scale=5, min_width=240,
            elem_id="compare-query",
        )  # fmt: skip
        search = gr.Button("Search", variant="primary", scale=1, min_width=110, elem_id="search")
    examples = gr.Dataset(
        components=[gr.Textbox(visible=False)], samples=[], label="Queries to try", visible=HIDDEN, elem_id="examples"
    )
    return Fields(session.token, corpus, models, query, search, examples)


def _many(session: Session, fields: Fields, heavy: dict[str, Any]) -> gr.HTML:
    with gr.Row(elem_classes="hf-actions"):
        known = gr.Button("Ask the test queries", variant="primary", min_width=180, elem_id="ask-known")
        upload = gr.UploadButton("Upload queries", file_types=QUERY_FILES, min_width=180, elem_id="ask-file")
    table = gr.HTML(empty_box(*MANY_HELP), elem_id="batch", min_height=160, js_on_load=SCRIPT)
    asked, begun = [session.token, fields.corpus, fields.models], [table, work_of(table, heavy)]
    known.click(ask_known, asked, begun, **heavy)
    upload.upload(ask_file, [*asked, upload], begun, **heavy)
    return table


def _first(sample: list[str]) -> str:
    return sample[0]
