"""Spent: how runs that were sent elsewhere stand, how long they have been under way or took, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hfembed.events import Reporter
from hfembed.launch.home import AT_ONCE
from hfembed.launch.record import Attempt, Launch, Outcome, Standing
from hfembed.launch.send import launcher_of


@dataclass(frozen=True)
class Spent:
    """Seconds since an attempt was submitted, and about what they cost; nothing where that is not known."""

    age: float
    seconds: float | None
    dollars: float | None


def spent(attempt: Attempt, standing: Standing | None, outcome: Outcome | None) -> Spent:
    """Return what an attempt took: until its own last word, or until now where it still goes on."""
    begun, present = datetime.fromisoformat(attempt.submitted), datetime.now(UTC)
    age = (present - begun).total_seconds()
    if outcome is not None:
        seconds: float | None = max(0.0, (datetime.fromisoformat(outcome.finished) - begun).total_seconds())
    else:
        seconds = None if standing is None or standing.is_over else age
    expected = attempt.expected
    if seconds is None or expected.dollars is None or not expected.seconds:
        return Spent(age, seconds, None)
    return Spent(age, seconds, seconds * expected.dollars / expected.seconds)


@dataclass(frozen=True)
class Surveyed:
    """A run, how it stands, and what it has taken."""

    launch: Launch
    standing: Standing
    spent: Spent

    def to_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "launch": self.launch.model_dump(mode="json"),
            "standing": self.standing.model_dump(mode="json"),
            "age": round(self.spent.age, 1),
            "seconds": None if self.spent.seconds is None else round(self.spent.seconds, 1),
            "dollars": None if self.spent.dollars is None else round(self.spent.dollars, 4),
        }


def survey(launches: Sequence[Launch], report: Reporter) -> list[Surveyed]:
    """Ask how each run stands, several at once."""

    def look(launch: Launch) -> Surveyed:
        launcher = launcher_of(launch.attempt.launcher, report)
        standing = launcher.standing(launch, None)
        outcome = launcher.outcome(launch, None) if standing.is_over else None
        return Surveyed(launch, standing, spent(launch.attempt, standing, outcome))

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="survey") as threads:
        # Each thread speaks to the Hub as whoever asks.
        asked = [threads.submit(copy_context().run, look, launch) for launch in launches]
        return [answer.result() for answer in asked]
