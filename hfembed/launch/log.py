"""Log: that of a run on the Hub, read to its end through lost connections, a machine that is waited for, and restarts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from hfembed.events import Reporter
from hfembed.hub.jobs import LogLine
from hfembed.hub.problems import hub_errors
from hfembed.hub.publish import seconds_to_wait
from hfembed.launch.record import Standing

LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.25, 10.0
# A Hub that gives no answer for so long is given up on; the run itself goes on.
PATIENCE_SECONDS = 900.0


class Log:
    """A log that can be asked for anew at any time, and how whatever writes it stands."""

    def __init__(
        self,
        what: str,
        lines: Callable[[], Iterator[LogLine | None]],
        standing: Callable[[], Standing],
        report: Reporter,
    ) -> None:
        """Read `lines`, which begin anew each time; None among them is a silence. `what` names it in words."""
        self._what, self._lines, self._standing, self._report = what, lines, standing, report
        self._place = Place()

    def follow(self, *, wait: bool) -> Iterator[str]:
        """Yield every line once until it is over, or what there is now where nobody is to wait."""
        look, lost, told = LOOK_SECONDS, None, ""
        while True:
            standing = self._standing()
            if standing.is_waiting and standing.stage != told:
                self._report.note(f"waiting for {self._what}: {standing.stage.lower()}")
                told = standing.stage
            if not (standing.is_waiting and wait):
                try:
                    yield from self._place.after(self._until_over(wait=wait))
                    lost = None
                except Exception as error:
                    lost = lost or time.monotonic()
                    self._wait_out(error, lost)
                    continue
            if standing.is_over or not wait:
                return
            time.sleep(look)
            look = min(2 * look, LONGEST_LOOK_SECONDS)

    def _until_over(self, *, wait: bool) -> Iterator[LogLine]:
        """Yield the log until it ends; while nothing comes, look whether anything still can."""
        for line in self._lines():
            if line is not None:
                yield line
            elif not wait or self._standing().is_over:
                return

    def _wait_out(self, error: Exception, since: float) -> None:
        seconds = seconds_to_wait(error, 2)
        if seconds is None or time.monotonic() - since > PATIENCE_SECONDS:
            with hub_errors(f"log of {self._what}"):
                raise error
        self._report.note(f"the log was cut off ({type(error).__name__}); asking again in {seconds:.0f} s")
        time.sleep(seconds)


class Place:
    """How far a log was read. Lines have times, and a log that is sent again begins anew or a little later."""

    def __init__(self) -> None:
        """Stand before the first line."""
        self._time, self._count = "", 0

    def after(self, lines: Iterator[LogLine]) -> Iterator[str]:
        """Yield the lines that were not read yet."""
        known = self._count
        for line in lines:
            if line.timestamp < self._time:
                continue
            if line.timestamp == self._time and known:
                known -= 1
                continue
            self._count = self._count + 1 if line.timestamp == self._time else 1
            self._time = line.timestamp
            yield line.text
