"""Latest: of the requests that somebody's typing makes, only the newest is answered."""

from __future__ import annotations

import threading
from collections import OrderedDict

MOST = 1_000


class Latest:
    """Remembers, for each browser, the number of its newest request."""

    def __init__(self) -> None:
        """Know of nobody yet."""
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._guard = threading.Lock()
        self._last = 0

    def take(self, who: str) -> int:
        """Give the next request of a browser its number."""
        with self._guard:
            self._last += 1
            self._numbers[who] = self._last
            self._numbers.move_to_end(who)
            while len(self._numbers) > MOST:
                self._numbers.popitem(last=False)
            return self._last

    def is_latest(self, who: str, number: int) -> bool:
        """Tell whether no newer request of that browser has come."""
        with self._guard:
            return self._numbers.get(who) == number
