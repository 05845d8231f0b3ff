"""Queue: runs that share a machine wait for their turn, in the order in which they came.

Each has a ticket: a file that it holds locked for as long as it lives. Nobody keeps the queue, so nothing is lost when
the page that started a run is gone, and a run that was killed makes room at once.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hfembed.errors import InputError
from hfembed.events import Reporter
from hfembed.run import make_folder

# Where tickets are drawn, and how many runs work at once.
FOLDER, SLOTS = "HFEMBED_QUEUE", "HFEMBED_QUEUE_SLOTS"
# What its events are told apart by.
QUEUE = "queue"
LOOK_SECONDS = 0.3


@contextmanager
def turn(report: Reporter, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Wait until this process may work, where there is a queue, and leave the queue when it is done."""
    if not environment.get(FOLDER):
        yield
        return
    folder, slots = Path(environment[FOLDER]), _slots(environment.get(SLOTS) or "1")
    with _ticket(folder) as ticket:
        said = 0
        while (before := tickets(folder).index(ticket) - slots + 1) > 0:
            if before != said:
                report.note(f"waiting for its turn: {before} {'run is' if before == 1 else 'runs are'} before it")
                said = before
            time.sleep(LOOK_SECONDS)
        if said:
            report.note("its turn has come")
        yield


def tickets(folder: Path) -> list[str]:
    """Return the tickets of the processes that live, first come first; those of the others are thrown away."""
    found = []
    for file in sorted(folder.glob("*.ticket")):
        try:
            with file.open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            file.unlink(missing_ok=True)  # nobody holds it any more
        except BlockingIOError:
            found.append(file.name)
        except FileNotFoundError:
            continue
    return found


@contextmanager
def _ticket(folder: Path) -> Iterator[str]:
    make_folder(folder)
    name = f"{time.time_ns():020d}-{os.getpid()}.ticket"
    drawn = folder / f".{name}"
    with drawn.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # before anyone can see it
        drawn.rename(folder / name)
        try:
            yield name
        finally:
            (folder / name).unlink(missing_ok=True)


def _slots(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{SLOTS} is '{text}'; it must be a whole number from 1 on.")
    return int(text)
