"""The Compare page: base and tuned of the finished run side by side on a query."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from hfembed.compare import compare
from hfembed.errors import HfembedError, RunError
from hfembed.pipeline import manifests
from hfembed.run import Run

from . import runner
from .build_page import HIDDEN, PRIVATE, shown
from .gpu import on_gpu, seconds_to_encode
from .html import empty_box, error_of
from .queries import example_queries
from .runner import Launch
from .settings import read_settings
from .view_compare import rankings_html
from .visitors import visitor_folder

PASSAGES = 10
MAX_QUERY = 500
NO_RUN = (
    "Nothing to compare yet",
    "Finish a run on the Build page. Then type a query here, and see what your model finds beside what its base finds.",
)
NO_QUERY = ("Ask something", "Type a query, or choose one of the run's test queries, and press Search.")


@dataclass(frozen=True)
class CompareParts:
    """The components of the page."""

    query: gr.Textbox
    search: gr.Button
    examples: gr.Dataset
    panel: gr.HTML


def compare_page(token: gr.BrowserState, finished: gr.State) -> CompareParts:
    """Lay out the page and wire it; it opens when a run is finished."""
    with gr.Row(elem_classes="hf-search"):
        query = gr.Textbox(
            label="Query", placeholder="What would somebody ask?", max_length=MAX_QUERY, scale=5, min_width=240
        )
        search = gr.Button("Search", variant="primary", interactive=False, scale=1, min_width=110, elem_id="search")
    examples = gr.Dataset(
        components=[gr.Textbox(visible=False)], samples=[], label="Test queries of this run", visible=HIDDEN
    )
    panel = gr.HTML(empty_box(*NO_RUN), elem_id="comparison", min_height=160)
    parts = CompareParts(query, search, examples, panel)
    finished.change(open_page, [token, finished], [query, search, examples, panel], **PRIVATE)
    heavy: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "models", "concurrency_limit": 1}
    search.click(answer, [token, query], panel, **heavy)
    query.submit(answer, [token, query], panel, **heavy)
    examples.click(_choose, examples, query, **PRIVATE).then(answer, [token, query], panel, **heavy)
    return parts


def open_page(token: str, finished: str) -> tuple[gr.Textbox, gr.Button, gr.Dataset, str]:
    """Open the page for a finished run, or close it while there is none."""
    launch = _finished(token) if finished else None
    samples = [[query] for query in example_queries(launch)] if launch else []
    box = empty_box(*(NO_QUERY if launch else NO_RUN))
    ready = launch is not None
    return (
        gr.Textbox(interactive=ready),
        gr.Button(interactive=ready),
        gr.Dataset(samples=samples, visible=shown(bool(samples))),
        box,
    )


def answer(token: str, query: str) -> str:
    """Return what base and tuned find for a query."""
    try:
        launch = _finished(token)
        if launch is None:
            raise RunError("There is no finished run to compare.", "Launch one on the Build page.")
    except HfembedError as error:
        return error_of(error)
    return find(launch.order.base, str(launch.run), (query or "")[:MAX_QUERY])


def borrowed_seconds(base: str, run: str, query: str) -> int:
    """Return for how long `find` may need a GPU, by the documents of the run."""
    counts = manifests(Run(Path(run)))["pull"].counts
    return seconds_to_encode(counts.get("chunks", counts["documents"]), models=2)


@on_gpu(borrowed_seconds)
def find(base: str, run: str, query: str) -> str:
    """Return what a base and the run that began with it find for a query; errors as words, for they come from afar."""
    try:
        rankings = compare([base, run], run, query, PASSAGES)
    except HfembedError as error:
        return error_of(error)
    name = base.rstrip("/").rpartition("/")[2]
    return rankings_html(query, rankings, [f"base: {name}", "tuned"])


def _finished(token: str) -> Launch | None:
    return runner.latest_finished(visitor_folder(read_settings().root, token))


def _choose(sample: list[str]) -> str:
    return sample[0]
