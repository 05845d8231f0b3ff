"""Shelf: what took long to make is kept, within bounds, and made once however many ask for it at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

V = TypeVar("V")


class Shelf(Generic[V]):
    """Keeps the values that were asked for last; threads may share it."""

    def __init__(self, most: int, most_bytes: int | None = None, weigh: Callable[[V], int] | None = None) -> None:
        """Keep at most so many values, and of those that `weigh` something at most so many bytes.

        The value that was asked for last stays, whatever it weighs.
        """
        self._most, self._most_bytes, self._weigh = most, most_bytes, weigh
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._making: dict[Hashable, Future[V]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        """Tell whether a value is kept."""
        return key in self._kept

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return the value of a key, made by the first who asks; the others wait, and share its error too."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            future = self._making.get(key)
            if future is None:
                mine = self._making[key] = Future()
        if future is not None:
            return future.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._kept[key] = value
            self._evict()
        mine.set_result(value)
        return value

    def _evict(self) -> None:
        while len(self._kept) > 1 and (len(self._kept) > self._most or self._is_too_heavy()):
            self._kept.popitem(last=False)

    def _is_too_heavy(self) -> bool:
        if self._weigh is None or self._most_bytes is None:
            return False
        return sum(map(self._weigh, self._kept.values())) > self._most_bytes
