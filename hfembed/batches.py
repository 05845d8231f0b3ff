"""Batches: what comes one by one, gathered until there is enough of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def gather(items: Iterable[T], size: Callable[[T], int], enough: int, most: int = sys.maxsize) -> Iterator[list[T]]:
    """Yield items in lists; each ends with the item that brings its size to `enough` or its length to `most`."""
    batch: list[T] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= enough or len(batch) >= most:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
