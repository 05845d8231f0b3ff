"""The front end: the pages, the visitor's session, and how it is served."""

from __future__ import annotations

import gradio as gr

from .build_page import PRIVATE, build_page, reason_wiring, show_reason, show_run
from .compare_page import compare_page
from .look import HEAD, INTRO, STYLE, TITLE, theme
from .settings import read_settings
from .visitors import is_token, new_token

# What the browser keeps. The key only keeps the value readable after a restart; the token itself is the secret.
STORAGE_KEY = "hfembed-visitor"
STORAGE_SECRET = "hfembed"
CACHE_HOURS = (1, 24)


def build() -> gr.Blocks:
    """Return the whole front end."""
    hourly, kept = (hours * 3600 for hours in CACHE_HOURS)
    with gr.Blocks(title=TITLE, delete_cache=(hourly, kept)) as blocks:
        token = gr.BrowserState("", storage_key=STORAGE_KEY, secret=STORAGE_SECRET)
        gr.HTML(INTRO)
        with gr.Tabs():
            with gr.Tab("Build", id="build"):
                form, run = build_page(token)
            with gr.Tab("Compare", id="compare"):
                compare_page(token, run.finished)
        greeted = blocks.load(greet, token, token, **PRIVATE)
        shown = greeted.then(show_run, token, run.outputs(), **PRIVATE)
        shown.then(show_reason, **reason_wiring(form, run, token))
    return blocks


def greet(token: str) -> str:
    """Keep the token of a visitor who has been here, or give a new one."""
    return token if is_token(token) else new_token()


def launch() -> None:
    """Serve the front end; address and port come from Gradio's own environment variables."""
    settings = read_settings()
    settings.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    build().queue(default_concurrency_limit=8).launch(
        theme=theme(),
        css_paths=[STYLE],
        head=HEAD,
        max_file_size=f"{settings.max_megabytes}mb",
        blocked_paths=[str(settings.root)],
        footer_links=[],
        ssr_mode=False,
    )
