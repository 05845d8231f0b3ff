"""The front end: the pages, the visitor's session, and how it is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from .adopted import show_run
from .api import add_api, can_speak_mcp
from .build_page import BuildPage, build_page
from .compare_page import compare_page
from .learn_page import learn_page
from .look import HEAD, INTRO, STYLES, TITLE, theme
from .own import own_pages
from .page import PRIVATE, Page, Session, go_to
from .publish_page import publish_page
from .runs_page import RunsPage, runs_page
from .settings import read_settings
from .visitors import is_token, new_token

# What the browser keeps. The key only keeps the value readable after a restart; the token itself is the secret.
STORAGE_KEY = "hfembed-visitor"
STORAGE_SECRET = "hfembed"
CACHE_HOURS = (1, 24)
# The address follows the page, so that a reload ends where it began.
SET_TAB = """() => {
  const address = new URL(window.location.href);
  address.searchParams.set("tab", "NAME");
  if ("NAME" !== "compare") for (const name of ["q", "models", "corpus"]) address.searchParams.delete(name);
  window.history.replaceState(null, "", address);
}"""
PAGES = {"build": build_page, "runs": runs_page, "compare": compare_page, "publish": publish_page, "learn": learn_page}


def build() -> gr.Blocks:
    """Return the whole front end."""
    hourly, kept = (hours * 3600 for hours in CACHE_HOURS)
    with gr.Blocks(title=TITLE, delete_cache=(hourly, kept)) as blocks:
        add_api()  # before the pages, whose handlers would take its names
        token = gr.BrowserState("", storage_key=STORAGE_KEY, secret=STORAGE_SECRET)
        _header()
        chosen = gr.State("")  # inside the tabs, but in none of them, it would hang the page
        with gr.Tabs(elem_id="pages") as tabs:
            session = Session(token, tabs, chosen)
            opened = [_tab(name, make, session) for name, make in PAGES.items()]
        greeted = blocks.load(greet, [token, session.chosen], [token, session.chosen, tabs], **PRIVATE)
        first = opened[0][0]  # opened without being selected; a page that the address names is selected by greet
        greeted.then(if_first(first.refresh), first.inputs, first.outputs, **PRIVATE)
        for page, tab in opened:
            page.refresh_on(tab.select)
            tab.select(None, None, None, js=SET_TAB.replace("NAME", page.name))
        _wire_duplicate(session, {page.name: page for page, _ in opened})
    return blocks


def greet(token: str, chosen: str, request: gr.Request) -> tuple[Any, ...]:
    """Keep the secret of a browser that has been here, or give a new one; open the page that the address names."""
    asked = dict(request.query_params) if request else {}
    page = asked.get("tab")
    run = asked.get("run", chosen)[:80]
    return token if is_token(token) else new_token(), run, gr.Tabs(selected=page) if page in PAGES else gr.skip()


def if_first(refresh: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Return how the first page is brought up to date as the front end is opened: not at all where another one is named."""

    def handle(token: str, memo: Any, asked: Any, request: gr.Request, *values: Any) -> Iterator[Any]:
        named = request.query_params.get("tab") if request else None
        if named not in PAGES or named == next(iter(PAGES)):
            yield from refresh(token, memo, asked, request, *values)
        else:
            yield gr.skip()

    return handle


def launch(*, opens_browser: bool = False, runs: Sequence[Path] = ()) -> None:
    """Serve the front end; address and port come from Gradio's own environment variables.

    runs: folders of runs that the owner of this machine did elsewhere, to be shown too.
    """
    settings = read_settings()
    settings.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in runs:
        show_run(folder)
    build().queue(default_concurrency_limit=8).launch(
        theme=theme(),
        css_paths=list(STYLES),
        head=HEAD,
        max_file_size=f"{settings.max_megabytes}mb",
        blocked_paths=[str(settings.root)],
        footer_links=[],
        ssr_mode=False,
        mcp_server=can_speak_mcp(),
        app_kwargs={"middleware": own_pages()} if settings.is_local else None,
        inbrowser=opens_browser,
        quiet=settings.is_local,
        # Else gradio asks itself for the page and ends where that takes three seconds, as beside a run on few cores.
        _frontend=False,
    )


def _header() -> None:
    with gr.Row(elem_classes="hf-header"):
        gr.HTML(INTRO)
        if read_settings().can_sign_in:
            gr.LoginButton("Sign in with Hugging Face", size="sm", min_width=220, elem_id="sign-in")


def _wire_duplicate(session: Session, pages: dict[str, Page]) -> None:
    """Let a run of the Runs page fill the form of the Build page anew."""
    build, runs = pages.get("build"), pages.get("runs")
    if isinstance(build, BuildPage) and isinstance(runs, RunsPage):
        filled = runs.again.click(
            build.duplicate, [session.token, session.chosen], build.form_outputs, api_visibility="private"
        )
        filled.success(lambda: go_to("build"), None, session.tabs, **PRIVATE)


def _tab(name: str, make: Any, session: Session) -> tuple[Page, gr.Tab]:
    with gr.Tab(name.capitalize(), id=name) as tab:
        return make(session), tab
