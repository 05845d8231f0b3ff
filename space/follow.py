"""Follow: what the runs that are looked at do, added up as it comes; a run elsewhere is listened to in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

from hfembed.compare.shelf import Shelf
from hfembed.errors import HfembedError
from hfembed.launch.stream import read_event
from hfembed.launch.watch import conclude
from hfembed.run import LAYOUT

from .progress import Progress, take
from .runs import VisitorRun, arriving
from .visitors import Visitor

MOST = 200


@dataclass
class Followed:
    """One attempt at a run, as far as it was read. threads: what is done for it meanwhile, by name."""

    progress: Progress = field(default_factory=Progress)
    offset: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)
    threads: dict[str, threading.Thread] = field(default_factory=dict)


_followed: Shelf[Followed] = Shelf(MOST)


def progress_of(visitor: Visitor, one: VisitorRun) -> Progress:
    """Return what a run has done and does now."""
    followed = _followed_of(one)
    if not one.launch.attempt.launcher.works_here:
        _do_meanwhile("follow", _listen, visitor, followed, one)
        return followed.progress
    with followed.guard:
        for line in _new_lines(followed, one.run.path(LAYOUT.launch_log)):
            _take_line(followed, line)
    return followed.progress


def bring_here(visitor: Visitor, one: VisitorRun) -> Progress:
    """Fetch what a finished run made elsewhere, in a thread; return what is known of it meanwhile."""
    followed = _followed_of(one)
    if not one.is_whole:
        _do_meanwhile("bring", _bring, visitor, followed, one)
    return followed.progress


def _do_meanwhile(
    name: str, work: Callable[[Followed, VisitorRun], None], visitor: Visitor, followed: Followed, one: VisitorRun
) -> None:
    """Do something in a thread, as the visitor, if that was not begun before; what fails is begun anew at the next look."""

    def do() -> None:
        try:
            work(followed, one)
        except HfembedError as error:  # shown where the progress would stand
            followed.progress.lost = error.message
            with followed.guard:
                del followed.threads[name]

    with followed.guard, visitor.acting(patient=True):
        if name not in followed.threads:
            thread = threading.Thread(target=copy_context().run, args=(do,), name=f"{name}-{one.id}", daemon=True)
            followed.threads[name] = thread
            thread.start()


def _listen(followed: Followed, one: VisitorRun) -> None:
    """Take the log of a run elsewhere, from its first line, until it is over."""
    followed.progress = Progress()
    for line in one.launcher.follow(one.launch, one.here):
        _take_line(followed, line)


def _bring(followed: Followed, one: VisitorRun) -> None:
    with arriving(one):
        conclude(one.launcher, one.launch, one.run)


def _take_line(followed: Followed, line: str) -> None:
    event = read_event(line)
    if event is not None:
        take(followed.progress, event)


def _new_lines(followed: Followed, log: Path) -> Iterator[str]:
    """Yield what was written to a log since the last look."""
    if not log.is_file():
        return
    with log.open("rb") as lines:
        lines.seek(followed.offset)
        for line in lines:
            if not line.endswith(b"\n"):  # it is being written
                return
            followed.offset += len(line)
            yield line.decode("utf-8", "replace").rstrip("\n")


def _followed_of(one: VisitorRun) -> Followed:
    return _followed.get((one.folder, one.id, one.launch.attempt.number), Followed)
