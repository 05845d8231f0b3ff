"""Follow: what the runs that are looked at do, added up as it comes; a run elsewhere is listened to in a thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

from hfembed.errors import HfembedError
from hfembed.launch.stream import read_event
from hfembed.run import LAYOUT

from .progress import Progress, take
from .runs import VisitorRun
from .visitors import Visitor

MOST = 200


@dataclass
class Followed:
    """One attempt at a run, as far as it was read."""

    progress: Progress = field(default_factory=Progress)
    offset: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None
    bringing: threading.Thread | None = None


_followed: OrderedDict[tuple[Path, str, int], Followed] = OrderedDict()
_guard = threading.Lock()


def progress_of(visitor: Visitor, one: VisitorRun) -> Progress:
    """Return what a run has done and does now."""
    followed = _followed_of(one)
    with followed.guard:
        if one.launch.attempt.launcher.works_here:
            _read_on(followed, one.run.path(LAYOUT.launch_log))
        elif followed.thread is None:
            with visitor.acting(patient=True):
                context = copy_context()
            name = f"follow-{one.id}"
            followed.thread = threading.Thread(
                target=context.run, args=(_listen, followed, one), name=name, daemon=True
            )
            followed.thread.start()
    return followed.progress


def bring_here(visitor: Visitor, one: VisitorRun) -> Progress:
    """Fetch what a finished run made elsewhere, in a thread; return what is known of it meanwhile."""
    followed = _followed_of(one)
    with followed.guard:
        if followed.bringing is None and not one.is_whole:
            with visitor.acting(patient=True):
                context = copy_context()
            name = f"bring-{one.id}"
            followed.bringing = threading.Thread(
                target=context.run, args=(_bring, followed, one), name=name, daemon=True
            )
            followed.bringing.start()
    return followed.progress


def _read_on(followed: Followed, log: Path) -> None:
    """Take what was written to a log since the last look."""
    for line in _new_lines(followed, log):
        event = read_event(line)
        if event is not None:
            take(followed.progress, event)


def _new_lines(followed: Followed, log: Path) -> Iterator[str]:
    if not log.is_file():
        return
    with log.open("rb") as lines:
        lines.seek(followed.offset)
        for line in lines:
            if not line.endswith(b"\n"):  # it is being written
                return
            followed.offset += len(line)
            yield line.decode("utf-8", "replace").rstrip("\n")


def _listen(followed: Followed, one: VisitorRun) -> None:
    """Take the log of a run elsewhere, from its first line, until it is over."""
    followed.progress = Progress()
    try:
        for line in one.launcher.follow(one.launch, one.here):
            event = read_event(line)
            if event is not None:
                take(followed.progress, event)
    except HfembedError as error:  # shown where the progress would stand; the next look begins anew
        followed.progress.lost = error.message
        followed.thread = None


def _bring(followed: Followed, one: VisitorRun) -> None:
    try:
        one.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        one.launcher.bring(one.launch, one.run)
    except HfembedError as error:
        followed.progress.lost = error.message
        followed.bringing = None


def _followed_of(one: VisitorRun) -> Followed:
    key = (one.folder, one.id, one.launch.attempt.number)
    with _guard:
        followed = _followed.setdefault(key, Followed())
        _followed.move_to_end(key)
        while len(_followed) > MOST:
            _followed.popitem(last=False)
    return followed
