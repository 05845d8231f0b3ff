"""Progress: stages emit events; the terminal, the run folder and the Space read the same ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Listener = Callable[["Event"], None]

# Rapid progress is thinned to this many seconds between two lines of the same task.
MIN_INTERVAL = 0.25


@dataclass(frozen=True)
class Event:
    """One line of events.jsonl.

    kind is one of: start, progress, note, warning, done, skipped, failed.
    """

    kind: str
    stage: str
    message: str = ""
    done: int = 0
    total: int | None = None
    unit: str = ""
    seconds: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)

    def to_line(self) -> str:
        """Return the event as one JSON line, without its empty fields."""
        values = {key: value for key, value in asdict(self).items() if value not in ("", None, {}, 0, 0.0)}
        return json.dumps(values, ensure_ascii=False)


class Events:
    """Where events go: a file in the run and any number of listeners."""

    def __init__(self, path: Path | None = None, listeners: Iterable[Listener] = ()) -> None:
        """Append to `path` (if given) and call every listener."""
        self._file = path.open("a", encoding="utf-8") if path else None
        self._listeners = list(listeners)

    def emit(self, event: Event) -> None:
        """Write one event and show it to every listener."""
        if self._file:
            self._file.write(event.to_line() + "\n")
            self._file.flush()
        for listener in self._listeners:
            listener(event)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None


class Reporter:
    """What a stage reports through: its name is on every event."""

    def __init__(self, stage: str, events: Events) -> None:
        """Report for `stage` into `events`."""
        self.stage = stage
        self._events = events

    def note(self, message: str, **data: Any) -> None:
        """Say something worth knowing."""
        self._events.emit(Event("note", self.stage, message, data=data))

    def warn(self, message: str, **data: Any) -> None:
        """Say something the user should act on."""
        self._events.emit(Event("warning", self.stage, message, data=data))

    def task(self, message: str, total: int | None = None, unit: str = "") -> Task:
        """Start a countable piece of work."""
        return Task(self, self._events, message, total, unit)

    def each(self, items: Iterable[T], message: str, total: int | None = None, unit: str = "") -> Iterator[T]:
        """Yield every item, reporting progress on the way."""
        task = self.task(message, total, unit)
        for item in items:
            yield item
            task.advance()
        task.finish()


class Task:
    """A countable piece of work inside a stage."""

    def __init__(self, reporter: Reporter, events: Events, message: str, total: int | None, unit: str) -> None:
        """Announce the work as 0 of `total`."""
        self._stage, self._events = reporter.stage, events
        self._message, self._total, self._unit = message, total, unit
        self._done, self._started, self._last, self._detail = 0, time.monotonic(), 0.0, ""
        self._values: Mapping[str, float] = {}
        self._emit()

    def advance(self, count: int = 1, detail: str = "", values: Mapping[str, float] | None = None) -> None:
        """Count `count` more units as done; `detail` says what else there is to know by now, `values` what to plot."""
        self._done += count
        self._detail = detail or self._detail
        self._values = values or self._values
        if time.monotonic() - self._last >= MIN_INTERVAL:
            self._emit()

    def finish(self) -> None:
        """Report the final count."""
        if self._total is None:
            self._total = self._done
        self._emit()

    def _emit(self) -> None:
        self._last = time.monotonic()
        elapsed = round(self._last - self._started, 3)
        data: dict[str, Any] = {"detail": self._detail} if self._detail else {}
        data |= {"values": dict(self._values)} if self._values else {}
        event = Event("progress", self._stage, self._message, self._done, self._total, self._unit, elapsed, data)
        self._events.emit(event)


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a run; a line cut short by a crash is passed over."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield Event(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue  # the last line of a killed process may be half-written


def silent() -> Reporter:
    """Return a reporter that nobody listens to, for use as a library."""
    return Reporter("", Events())
