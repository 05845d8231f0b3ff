"""Threads: with how many of them torch computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache


@lru_cache(maxsize=1)
def usual_threads() -> int:
    """Return with how many threads torch computes where nobody says otherwise: asked before anybody does."""
    import torch

    return torch.get_num_threads()


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Compute with so many threads in this one, for a while.

    Threads that share a few words among them mostly wait for one another: on a busy machine, ten times as long.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
