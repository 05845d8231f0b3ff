"""Interrupts: signals that end a process, let through only where nothing that was paid for can be lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


class Interrupts:
    """Holds signals back, except while the process waits; only the main thread is ever interrupted."""

    def __init__(self) -> None:
        """Hold nothing back yet."""
        self._known: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._came: int | None = None
        self._waits = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back; what came meanwhile and was not let through yet arrives at the end."""
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._known = {number: handler for number, handler in handlers.items() if callable(handler)}
        for number in self._known:
            signal.signal(number, self._take)
        try:
            yield
        finally:
            for number, handler in self._known.items():
                signal.signal(number, handler)
        self._arrive()

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Wait for something: here an interruption loses nothing."""
        self._waits = True
        try:
            self._arrive()
            yield
        finally:
            self._waits = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._came = number
        if self._waits:
            self._arrive()

    def _arrive(self) -> None:
        number, self._came = self._came, None
        if number is not None:
            self._known[number](number, None)
