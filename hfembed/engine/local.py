"""Local: this process, or a few of this machine where the caller says that they pay."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from hfembed.engine.contract import Work
from hfembed.events import Reporter

B = TypeVar("B")
M = TypeVar("M")


class Local:
    """Does the work here."""

    spreads = False

    def map(
        self, work: Work[B, M], blocks: Iterable[B], count: int, report: Reporter, processes: int = 1
    ) -> Iterator[M]:
        """Yield what is made of each block, in order."""
        if processes < 2:
            yield from map(work, blocks)
            return
        # Spawned, because a process that runs torch's threads cannot be forked safely.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, _use, (work,)) as pool:
            yield from pool.map(_do, blocks)

    def close(self) -> None:
        """Hold nothing."""


_work: Work[Any, Any]


def _use(work: Work[Any, Any]) -> None:
    global _work
    _work = work


def _do(block: Any) -> Any:
    return _work(block)
