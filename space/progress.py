"""What the events of a run add up to: where each stage stands, the work in hand, and what was said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from hfembed.events import Event
from hfembed.launch.queue import QUEUE
from hfembed.pipeline import NAMES
from hfembed.terminal import show_rate, show_seconds

STAGES = NAMES


class StageState(StrEnum):
    """How far a stage is."""

    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class Tone(StrEnum):
    """How a line of the log is meant."""

    NOTE = "note"
    WARNING = "warning"
    DONE = "done"


@dataclass(frozen=True)
class Line:
    """One sentence of the log."""

    stage: str
    text: str
    tone: Tone


@dataclass
class Work:
    """The countable work in hand."""

    message: str
    done: int
    total: int | None
    unit: str
    seconds: float

    @property
    def share(self) -> float | None:
        """Return how much is done, from 0 to 1, where that is known."""
        return min(1.0, self.done / self.total) if self.total else None

    def words(self) -> str:
        """Return the count, the rate and the time left."""
        parts = [f"{self.done:,} of {self.total:,} {self.unit}" if self.total else f"{self.done:,} {self.unit}"]
        if self.done and self.seconds:
            rate = self.done / self.seconds
            parts.append(show_rate(rate, self.unit))
            if self.total and self.total > self.done:
                parts.append(f"{show_seconds((self.total - self.done) / rate)} left")
        return ", ".join(parts)


@dataclass
class Progress:
    """The state of a run. said: the last words about its launch. lost: why its log cannot be read."""

    states: dict[str, StageState] = field(default_factory=lambda: dict.fromkeys(STAGES, StageState.WAITING))
    seconds: dict[str, float] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    work: Work | None = None
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    shift: int = 0
    said: str = ""
    lost: str = ""

    def plot(self, name: str, step: int, value: float) -> None:
        """Add a point to a curve; one that begins anew, in the next phase or after a restart, goes on behind the last."""
        curve = self.curves.setdefault(name, [])
        if curve and step < curve[-1][0] - self.shift:
            self.shift = curve[-1][0]
        if not curve or curve[-1] != (step + self.shift, value):
            curve.append((step + self.shift, value))

    @property
    def stage(self) -> str | None:
        """Return the stage at work."""
        return next((name for name, state in self.states.items() if state is StageState.WORKING), None)

    def stop(self) -> None:
        """Mark the stage at work as stopped: its process is gone."""
        self.work = None
        if self.stage:
            self.states[self.stage] = StageState.STOPPED


def read_progress(events: Iterable[Event]) -> Progress:
    """Add up events, oldest first; a resumed run goes on in the same file."""
    progress = Progress()
    for event in events:
        take(progress, event)
    return progress


def take(progress: Progress, event: Event) -> None:
    """Add one event."""
    if event.stage not in progress.states:
        if event.stage == QUEUE:  # that it waits for its turn
            progress.said = as_sentence(event.message)
        return
    match event.kind:
        case "progress":
            progress.work = Work(event.message, event.done, event.total, event.unit, event.seconds)
            for name, value in event.data.get("values", {}).items():
                progress.plot(name, event.done, value)
        case "note" | "warning":
            progress.work = None if event.kind == "note" else progress.work
            progress.lines.append(Line(event.stage, as_sentence(event.message), Tone(event.kind)))
        case "start":
            if progress.stage:  # a process that was killed left it at work
                progress.states[progress.stage] = StageState.WAITING
            progress.states[event.stage], progress.work = StageState.WORKING, None
        case "failed":
            progress.states[event.stage], progress.work = StageState.FAILED, None
        case "done" | "skipped":
            _finish(progress, event)


def _finish(progress: Progress, event: Event) -> None:
    progress.states[event.stage], progress.work = StageState.DONE, None
    progress.seconds[event.stage] = event.seconds
    if event.kind == "done":
        made = count_words(event.data.get("counts", {}))
        progress.lines.append(Line(event.stage, f"Done in {show_seconds(event.seconds)}: {made}.", Tone.DONE))


def count_words(counts: dict[str, int]) -> str:
    """Return counts as people say them; what is zero is left out."""
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in counts.items() if value) or "nothing"


def as_sentence(text: str) -> str:
    """Return an event's words with a capital at the start and a full stop at the end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
