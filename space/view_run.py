"""A run as the Build page shows it: stages, work in hand, log, error."""

from __future__ import annotations

from hfembed import errors
from hfembed.events import read_events
from hfembed.run import LAYOUT
from hfembed.terminal import show_seconds

from .html import empty_box, error_box, tag, text
from .progress import STAGES, Line, Progress, StageState, Work, read_progress
from .runner import Launch, Order, Status, result, seconds, status
from .view_report import report_html

MARKS = {
    StageState.WAITING: "",
    StageState.WORKING: "",
    StageState.DONE: "✓",
    StageState.FAILED: "!",
    StageState.STOPPED: "■",
}
LOG_LINES = 60
EMPTY = (
    "No run yet",
    "Choose a corpus on the form and press Launch. The stages, the time left and, at the end, the scores of your "
    "model appear here.",
)


def run_html(launch: Launch | None) -> str:
    """Return the whole panel for a visitor's newest launch."""
    if launch is None:
        return empty_box(*EMPTY)
    state = status(launch)
    progress = read_progress(read_events(launch.run / LAYOUT.events))
    if state is not Status.WORKING:
        progress.stop()
    parts = [_header(launch.order, state), stepper_html(progress)]
    if state is Status.WORKING:
        parts += [work_html(progress, seconds(launch)), log_html(progress.lines, opened=True)]
    else:
        parts += [_ending(launch, state), log_html(progress.lines, opened=False)]
    return tag("section", *parts, class_="hf-run", aria_label="Your run", data_status=state)


def failure(launch: Launch) -> tuple[str, str]:
    """Return message and hint of a failed run, as the command line prints them."""
    error = result(launch).get("error")
    if not error:
        return (
            "The run ended without a word: it was killed, or the memory was full.",
            "Try again goes on where it stopped.",
        )
    if not hasattr(errors, error["type"]):  # the classes of errors.py are the ones the user can put right
        return f"Unexpected error, a bug in hfembed: {error['type']}: {error['message']}", error["hint"]
    return error["message"], error["hint"]


def stepper_html(progress: Progress) -> str:
    """Return the stages in order, each with its state."""
    steps = []
    for name in STAGES:
        state = progress.states[name]
        took = show_seconds(progress.seconds[name]) if name in progress.seconds else state
        steps.append(
            tag(
                "li",
                tag("span", MARKS[state], class_="hf-dot", aria_hidden="true"),
                tag("b", text(name)),
                tag("small", text(took)),
                class_=f"hf-step hf-{state}",
                aria_label=f"{name}: {state}",
            )
        )
    return tag("ol", *steps, class_="hf-stepper", aria_label="Stages")


def work_html(progress: Progress, elapsed: float) -> str:
    """Return the work in hand with its bar, rate and time left."""
    work = progress.work
    if progress.stage is None:
        title = "Starting" if not any(state is StageState.DONE for state in progress.states.values()) else "Going on"
    elif work is None:
        said = [line.text for line in progress.lines if line.stage == progress.stage]
        title = said[-1].rstrip(".") if said else f"Beginning {progress.stage}"
    else:
        title = work.message[:1].upper() + work.message[1:]
    meta = [work.words()] if work else []
    meta.append(f"{show_seconds(elapsed)} so far")
    return tag(
        "div",
        tag("p", text(title), class_="hf-task"),
        _bar(work),
        tag("p", text(" · ".join(meta)), class_="hf-meta"),
        class_="hf-work",
    )


def log_html(lines: list[Line], *, opened: bool) -> str:
    """Return what the run said, newest first, so that the newest is seen without scrolling."""
    if not lines:
        return ""
    rows = [
        tag("li", tag("span", text(line.stage), class_="hf-tagname"), _said(line), class_=f"hf-{line.tone}-line")
        for line in reversed(lines[-LOG_LINES:])
    ]
    log = tag("ul", *rows, class_="hf-log", aria_label="What the run said, newest first", tabindex="0")
    warnings = sum(line.tone == "warning" for line in lines)
    title = "What happened" + (f" ({warnings} warning{'s' if warnings > 1 else ''})" if warnings else "")
    return log if opened else tag("details", tag("summary", title), log, class_="hf-details")


def _said(line: Line) -> str:
    prefix = tag("strong", "Warning: ") if line.tone == "warning" else ""
    return tag("span", prefix, text(line.text))


def _bar(work: Work | None) -> str:
    share = work.share if work else None
    if work is None or share is None:
        return tag("div", tag("span"), class_="hf-bar hf-unknown", role="progressbar", aria_label="Working")
    percent = f"{share * 100:.0f}"
    filled = tag("span", style=f"width:{percent}%")
    values = {"aria_valuemin": "0", "aria_valuemax": "100", "aria_valuenow": percent}
    return tag("div", filled, class_="hf-bar", role="progressbar", aria_label=work.message, **values)


def _header(order: Order, state: Status) -> str:
    base = order.base.rstrip("/").rpartition("/")[2]
    title = tag("h3", text(order.corpus), class_="hf-title")
    words = tag("p", text(f"tuned from {base}, preset {order.preset}"), class_="hf-meta")
    return tag("header", tag("div", title, words), tag("span", state, class_=f"hf-badge hf-{state}"), class_="hf-head")


def _ending(launch: Launch, state: Status) -> str:
    if state is Status.FINISHED:
        return report_html(result(launch))
    if state is Status.FAILED:
        return error_box(*failure(launch))
    return empty_box("Cancelled", "Finished stages are kept: Continue goes on where it stopped.")
