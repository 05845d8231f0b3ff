"""Work: what takes long the first time, done in a thread of its own, with words on how far it is."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from typing import Generic, TypeVar

from hfembed.errors import HfembedError
from hfembed.events import Event, Events, Reporter

from .html import error_of

T = TypeVar("T")

# Most of them wait: for the Hub, or for their turn to encode.
THREADS = 24
LOOK_SECONDS, SOON_SECONDS = 0.3, 1.0
WAITING = "Loading models and documents"
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="compare")


class Work(Generic[T]):
    """A task under way."""

    def __init__(self, task: Callable[[Reporter], T], view: Callable[[T], str]) -> None:
        """Begin; the task speaks for whoever this thread speaks for. view: how the page shows what comes of it."""
        self._view, self.words = view, WAITING
        reporter = Reporter("compare", Events(listeners=[self._hear]))
        self._future = _threads.submit(contextvars.copy_context().run, task, reporter)

    def is_soon_done(self) -> bool:
        """Tell whether it is done, after waiting for a moment."""
        return self._is_done_within(SOON_SECONDS)

    def follow(self) -> Iterator[str]:
        """Yield what is being done, again and again until it is done; nothing if that is at once."""
        while not self._is_done_within(LOOK_SECONDS):
            yield self.words

    def result(self) -> T:
        """Return what came of it, or raise what went wrong."""
        return self._future.result()

    def html(self) -> str:
        """Return what came of it as the page shows it, or in words what went wrong."""
        try:
            return self._view(self.result())
        except HfembedError as error:
            return error_of(error)

    def _hear(self, event: Event) -> None:
        if event.kind == "progress":
            far = f": {event.done:,} of {event.total:,} {event.unit}" if event.total else ""
            self.words = f"{event.message[:1].upper()}{event.message[1:]}{far}"

    def _is_done_within(self, seconds: float) -> bool:
        try:
            self._future.exception(seconds)
        except TimeoutError:
            return False
        return True
