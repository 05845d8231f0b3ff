"""The Build page: a form that says what is missing, and the run that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from hfembed.errors import HfembedError
from hfembed.recipe import DEFAULT_PRESET, load_presets

from . import runner
from .download import zip_model
from .form import CorpusChoice, missing, read_form
from .html import error_of, reason_line
from .runner import Launch, Status
from .settings import Settings, read_settings
from .uploads import ALLOWED
from .view_run import run_html
from .visitors import visitor_folder

POLL_SECONDS = 1.0
HIDDEN: Literal["hidden"] = "hidden"  # Gradio 6.17 sometimes fails to bring back what is not in the page at all
ABOUT_SAMPLE = "The sample is a small collection of technical notes: good for a first try"
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class FormParts:
    """The components of the form."""

    choice: gr.Radio
    files: gr.File
    dataset: gr.Textbox
    base: gr.Dropdown
    preset: gr.Radio
    launch: gr.Button
    reason: gr.HTML

    def inputs(self) -> list[Any]:
        """Return what read_form takes, in its order."""
        return [self.choice, self.files, self.dataset, self.base, self.preset]


@dataclass(frozen=True)
class RunParts:
    """The components around the run; `busy` and `finished` tell the rest of the app what changed."""

    panel: gr.HTML
    cancel: gr.Button
    resume: gr.Button
    download: gr.DownloadButton
    timer: gr.Timer
    busy: gr.State
    finished: gr.State

    def outputs(self) -> list[Any]:
        """Return what show_run gives, in its order."""
        return [self.panel, self.cancel, self.resume, self.download, self.timer, self.busy, self.finished]


def build_page(token: gr.BrowserState) -> tuple[FormParts, RunParts]:
    """Lay out the page and wire it; return the parts that the rest of the app fills and watches."""
    settings = read_settings()
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            form = _form(settings)
        with gr.Column(scale=3, min_width=320):
            run = _run()
    _wire_form(form, run, token)
    _wire_run(run, token)
    return form, run


def show_run(token: str) -> tuple[Any, ...]:
    """Return what the run's components show for a visitor now."""
    try:
        visitor = visitor_folder(read_settings().root, token)
    except HfembedError as error:
        return error_of(error), *_buttons(None, None), gr.Timer(active=False), False, ""
    launch, finished = runner.latest(visitor), runner.latest_finished(visitor)
    state = runner.status(launch) if launch else None
    working = state is Status.WORKING
    name = finished.folder.name if finished else ""
    return run_html(launch), *_buttons(launch, state), gr.Timer(active=working), working, name


def show_reason(token: str, busy: bool, *values: Any) -> tuple[gr.Button, str]:
    """Return whether Launch can be pressed, and beside it why not."""
    words = "Your run is still working: wait for it, or cancel it." if busy else missing(_read(values), read_settings())
    return gr.Button(interactive=not words), reason_line(words)


def launch_run(token: str, *values: Any) -> tuple[Any, ...]:
    """Launch what the form asks for, and show it."""
    settings = read_settings()
    try:
        runner.start(_read(values), visitor_folder(settings.root, token), settings)
    except HfembedError as error:
        return error_of(error), *show_run(token)[1:]
    return show_run(token)


def cancel_run(token: str) -> tuple[Any, ...]:
    """Cancel the visitor's run, and show what is left."""
    return _act(token, runner.cancel)


def resume_run(token: str) -> tuple[Any, ...]:
    """Go on with the visitor's run, and show it."""
    return _act(token, runner.resume)


def reason_wiring(form: FormParts, run: RunParts, token: gr.BrowserState) -> dict[str, Any]:
    """Return what an event needs to bring Launch and its reason up to date with show_reason."""
    return {"inputs": [token, run.busy, *form.inputs()], "outputs": [form.launch, form.reason], **PRIVATE}


def show_source(choice: str) -> tuple[gr.File, gr.Textbox]:
    """Show the field that belongs to the chosen kind of corpus."""
    chosen = CorpusChoice(choice)
    return gr.File(visible=shown(chosen is CorpusChoice.UPLOAD)), gr.Textbox(visible=shown(chosen is CorpusChoice.HUB))


def shown(wanted: bool) -> bool | Literal["hidden"]:
    """Return the visibility of a component that comes and goes."""
    return wanted or HIDDEN


def show_preset(name: str) -> gr.Radio:
    """Show what the chosen preset does."""
    return gr.Radio(info=about_preset(name))


def about_preset(name: str) -> str:
    """Return what a preset does and needs."""
    preset = load_presets()[name]
    return f"{preset.description} Needs {preset.needs}."


def _form(settings: Settings) -> FormParts:
    choice = gr.Radio(list(CorpusChoice), value=CorpusChoice.SAMPLE, label="Corpus", info=ABOUT_SAMPLE)
    files = gr.File(
        label=f"Your documents ({' '.join(ALLOWED)})",
        file_count="multiple",
        file_types=list(ALLOWED),
        visible=HIDDEN,
        height=180,
    )
    dataset = gr.Textbox(
        label="Hub dataset",
        placeholder="org/name",
        info="org/name, with :config or @revision where needed",
        visible=HIDDEN,
        max_length=200,
    )
    base = gr.Dropdown(
        [(Path(name).name if Path(name).is_dir() else name, name) for name in settings.bases],
        value=settings.bases[0],
        allow_custom_value=True,
        label="Base model",
        info="What your model starts from: choose one, or type org/name of the Hub",
    )
    preset = gr.Radio(list(load_presets()), value=DEFAULT_PRESET, label="Preset", info=about_preset(DEFAULT_PRESET))
    launch = gr.Button("Launch", variant="primary", size="lg", interactive=False, elem_id="launch")
    reason = gr.HTML(reason_line("Loading"), elem_id="reason")
    preset.change(show_preset, preset, preset, **PRIVATE)
    choice.change(show_source, choice, [files, dataset], **PRIVATE)
    return FormParts(choice, files, dataset, base, preset, launch, reason)


def _run() -> RunParts:
    panel = gr.HTML(elem_id="run")
    with gr.Row():
        cancel = gr.Button("Cancel", visible=HIDDEN, elem_id="cancel")
        resume = gr.Button("Continue", visible=HIDDEN, elem_id="resume")
        download = gr.DownloadButton("Download the model", variant="primary", visible=HIDDEN, elem_id="download")
    return RunParts(
        panel, cancel, resume, download, gr.Timer(POLL_SECONDS, active=False), gr.State(False), gr.State("")
    )


def _wire_form(form: FormParts, run: RunParts, token: gr.BrowserState) -> None:
    checked = reason_wiring(form, run, token)
    for component in (*form.inputs(), run.busy):
        component.change(show_reason, **checked)
    form.dataset.input(show_reason, **checked)
    form.launch.click(launch_run, [token, *form.inputs()], run.outputs(), **PRIVATE).then(show_reason, **checked)


def _wire_run(run: RunParts, token: gr.BrowserState) -> None:
    handlers: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
        (run.timer.tick, show_run),
        (run.cancel.click, cancel_run),
        (run.resume.click, resume_run),
    ]
    for event, handler in handlers:
        event(handler, token, run.outputs(), concurrency_limit=None, **PRIVATE)


def _act(token: str, action: Callable[[Launch], None]) -> tuple[Any, ...]:
    try:
        launch = runner.latest(visitor_folder(read_settings().root, token))
        if launch is not None:
            action(launch)
    except HfembedError as error:
        return error_of(error), *show_run(token)[1:]
    return show_run(token)


def _buttons(launch: Launch | None, state: Status | None) -> tuple[gr.Button, gr.Button, gr.DownloadButton]:
    archive = str(zip_model(launch)) if launch and state is Status.FINISHED else None
    return (
        gr.Button(visible=shown(state is Status.WORKING)),
        gr.Button(
            "Continue" if state is Status.CANCELLED else "Try again",
            visible=shown(state in (Status.CANCELLED, Status.FAILED)),
        ),
        gr.DownloadButton(visible=shown(archive is not None), value=archive),
    )


def _read(values: tuple[Any, ...]) -> Any:
    return read_form(*values)
