"""A run as the Runs page shows it: stages, work in hand, curves, what was said, how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hfembed import errors
from hfembed.events import read_events
from hfembed.launch.record import Attempt, Launch, LauncherName, Outcome
from hfembed.pipeline import NAMES
from hfembed.run import LAYOUT, Run
from hfembed.summary import summarize
from hfembed.terminal import show_seconds

from .charts import Point, charts
from .html import empty_box, error_box, tag, text
from .progress import Line, Progress, StageState, Work, read_progress
from .runs import Status, VisitorRun
from .view_report import report_html

MARKS = {
    StageState.WAITING: "",
    StageState.WORKING: "",
    StageState.DONE: "✓",
    StageState.FAILED: "!",
    StageState.STOPPED: "■",
}
CURVES = {"loss": "Loss", "dev": "Score on dev (nDCG@10)"}
LOG_LINES = 60
PLACES = {
    LauncherName.LOCAL: "this Space",
    LauncherName.JOBS: "a Job",
    LauncherName.SPACE: "a training Space",
    LauncherName.AUTOTRAIN: "AutoTrain",
}
EMPTY = (
    "No run yet",
    "Choose a corpus on the Build page and press Launch. The stages, the time left and, at the end, the scores of your "
    "model appear here.",
)
KILLED = (
    "The run ended without a word: its machine was restarted, or the memory was full.",
    "Try again goes on where it stopped.",
)


def run_html(one: VisitorRun | None, state: Status, progress: Progress, ended: Outcome | None) -> str:
    """Return the whole panel of a run."""
    if one is None:
        return empty_box(*EMPTY)
    parts = [_header(one.launch, state)]
    if not state.is_over:
        elapsed = time.time() - datetime.fromisoformat(one.launch.attempt.submitted).timestamp()
        parts += [
            stepper_html(progress, one.launch.until),
            work_html(progress, elapsed, one.launch.attempt),
            charts(progress.curves, CURVES),
            log_html(progress.lines, opened=True),
        ]
        return _panel(state, parts)
    whole = whole_progress(one, progress)
    parts += [
        stepper_html(whole, one.launch.until),
        _ending(one, state, progress, ended),
        charts(kept_curves(one.here) or whole.curves, CURVES),
        log_html(whole.lines, opened=False),
    ]
    return _panel(state, parts)


def whole_progress(one: VisitorRun, progress: Progress) -> Progress:
    """Return what a run that is over has done, in every attempt, where that is here."""
    found = read_progress(read_events(one.run.path(LAYOUT.events))) if one.here else progress
    found.stop()
    return found


def kept_curves(run: Run | None) -> dict[str, list[Point]]:
    """Return the curves of a run's training, all phases in a row."""
    file = run.path(LAYOUT.curves) if run else None
    if file is None or not file.is_file():
        return {}
    curves: dict[str, list[Point]] = {name: [] for name in CURVES}
    start = 0
    for phase in json.loads(file.read_text(encoding="utf-8"))["phases"]:
        for entry in phase.get("log", []):
            for name in CURVES:
                if name in entry:
                    curves[name].append((start + entry["step"], float(entry[name])))
        start += int(phase.get("planned_steps", 0))
    return curves


def failure(ended: Outcome | None) -> tuple[str, str]:
    """Return message and hint of a failed run, as the command line prints them."""
    error = ended.error if ended else None
    if not error:
        return KILLED
    hint = "" if "hfembed run" in error["hint"] else error["hint"]  # here a button does that
    if not hasattr(errors, error["type"]):  # the classes of errors.py are the ones the user can put right
        return f"Unexpected error, a bug in hfembed: {error['type']}: {error['message']}", hint
    return error["message"], hint


def run_label(launch: Launch, state: Status) -> str:
    """Return a run as a line of a list."""
    return f"{launch.name} · {state} · {when(launch)}"


def when(launch: Launch) -> str:
    """Return when a run was launched, as people say it."""
    began = datetime.fromisoformat(launch.attempts[0].submitted)
    seconds = (datetime.now(UTC) - began).total_seconds()
    return f"{began:%d %b %H:%M} UTC" if seconds > 86_400 else f"{show_seconds(max(1.0, seconds))} ago"


def stepper_html(progress: Progress, until: str) -> str:
    """Return the stages in order, each with its state."""
    steps = []
    for name in NAMES[: NAMES.index(until) + 1]:
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
    style = f"grid-template-columns: repeat({len(steps)}, 1fr)"
    return tag("ol", *steps, class_="hf-stepper", aria_label="Stages", style=style)


def work_html(progress: Progress, elapsed: float, attempt: Attempt) -> str:
    """Return the work in hand with its bar, rate and time left."""
    work = progress.work
    if progress.stage is None:
        done = any(state is StageState.DONE for state in progress.states.values())
        title = progress.said.rstrip(".") or ("Going on" if done else "Starting")
    elif work is None:
        said = [line.text for line in progress.lines if line.stage == progress.stage]
        title = said[-1].rstrip(".") if said else f"Beginning {progress.stage}"
    else:
        title = work.message[:1].upper() + work.message[1:]
    expected = attempt.expected.seconds
    left = expected - elapsed
    meta = [work.words()] if work else []
    meta.append(f"{show_seconds(elapsed)} so far")
    if left > 1:
        meta.append(f"about {show_seconds(left)} left of the whole run")
    lost = tag("p", text(progress.lost), class_="hf-reason") if progress.lost else ""
    return tag(
        "div",
        tag("p", text(title), class_="hf-task"),
        _bar(work),
        tag("p", text(" · ".join(meta)), class_="hf-meta"),
        lost,
        class_="hf-work",
    )


def log_html(lines: Sequence[Line], *, opened: bool) -> str:
    """Return what the run said: warnings first, then the rest, newest first, so that it is seen without scrolling."""
    if not lines:
        return ""
    warnings = [_row(line) for line in lines if line.tone == "warning"]
    rows = [_row(line) for line in reversed(lines[-LOG_LINES:]) if line.tone != "warning"]
    warned = tag("ul", *warnings, class_="hf-warnings", aria_label="Warnings") if warnings else ""
    log = tag("ul", *rows, class_="hf-log", aria_label="What the run said, newest first", tabindex="0")
    return warned + (log if opened else tag("details", tag("summary", "What happened"), log, class_="hf-details"))


def _panel(state: Status, parts: Sequence[str]) -> str:
    return tag("section", *parts, class_="hf-run", aria_label="Your run", data_status=state)


def _row(line: Line) -> str:
    prefix = tag("strong", "Warning: ") if line.tone == "warning" else ""
    said = tag("span", prefix, text(line.text))
    return tag("li", tag("span", text(line.stage), class_="hf-tagname"), said, class_=f"hf-{line.tone}-line")


def _bar(work: Work | None) -> str:
    share = work.share if work else None
    if work is None or share is None:
        return tag("div", tag("span"), class_="hf-bar hf-unknown", role="progressbar", aria_label="Working")
    percent = f"{share * 100:.0f}"
    filled = tag("span", style=f"width:{percent}%")
    values = {"aria_valuemin": "0", "aria_valuemax": "100", "aria_valuenow": percent}
    return tag("div", filled, class_="hf-bar", role="progressbar", aria_label=work.message, **values)


def _header(launch: Launch, state: Status) -> str:
    attempt = launch.attempt
    place = PLACES[attempt.launcher]
    if attempt.launcher is not LauncherName.LOCAL:
        place = f"{place} on {attempt.flavor}"
    words = f"on {place}, launched {when(launch)}"
    if len(launch.attempts) > 1:
        words += f", attempt {len(launch.attempts)}"
    if launch.repo:
        words += ", kept on the Hub"
    title = tag("h3", text(launch.name), class_="hf-title")
    about = tag("p", text(words), class_="hf-meta")
    return tag("header", tag("div", title, about), tag("span", state, class_=f"hf-badge hf-{state}"), class_="hf-head")


def _ending(one: VisitorRun, state: Status, progress: Progress, ended: Outcome | None) -> str:
    if state is Status.FAILED:
        return error_box(*failure(ended))
    if state is Status.CANCELLED:
        return empty_box("Cancelled", "Finished stages are kept: Continue goes on where it stopped.")
    if not one.is_whole:
        if progress.lost:
            return error_box(progress.lost, "Open the run again to try once more.")
        return empty_box("Finished", "Its results are being brought here.")
    summary = summarize(one.run)
    links = _links(summary["published"])
    return links + (report_html(summary) if summary["report"] else "")


def _links(published: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        tag(
            "li",
            f"{text(entry['kind']).capitalize()}: ",
            tag("a", text(entry["repo"]), href=entry["url"], rel="noopener"),
        )
        for entry in published
    ]
    return tag("ul", *rows, class_="hf-links", aria_label="Published") if rows else ""
