"""Events in a log: a run elsewhere writes each as one marked line, and whoever follows finds them again."""

from __future__ import annotations

import json
import sys
import time
from typing import TextIO

from hfembed.events import Event
from hfembed.launch.bootstrap import MARK

# Progress in a log that goes over the network: a line this often says enough.
INTERVAL = 1.0


class Printer:
    """A listener that writes events to a log."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        """Write to `out`."""
        self._out = out
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Write an event; progress is thinned, but for its beginning and its end."""
        now = time.monotonic()
        in_between = event.kind == "progress" and event.done not in (0, event.total)
        if in_between and now - self._last < INTERVAL:
            return
        self._last = now
        self._out.write(MARK + event.to_line() + "\n")
        self._out.flush()


def read_event(line: str) -> Event | None:
    """Return the event of a log line; nothing for a line of another kind."""
    _, marked, values = line.partition(MARK)  # a library may have left its own line without an end
    if not marked:
        return None
    try:
        return Event(**json.loads(values))
    except (ValueError, TypeError):
        return None  # a line that was cut short
