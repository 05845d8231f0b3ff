"""What an engine does, and what it can be given to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from hfembed.events import Reporter

Block = TypeVar("Block", contravariant=True)
Made = TypeVar("Made", covariant=True)
B = TypeVar("B")
M = TypeVar("M")


class Work(Protocol[Block, Made]):
    """What is made of each block, whichever process has it; sent to another, it opens there what it works with.

    files: the files and folders it reads, by name; an engine that sends it to another machine changes the places.
    on_gpu: whether it is done on a GPU where there is one.
    """

    files: Mapping[str, Path]
    on_gpu: bool

    def __call__(self, block: Block, /) -> Made:
        """Return what is made of one block; it depends on nothing but the work and the block."""


class Engine(Protocol):
    """Does work, block by block."""

    @property
    def spreads(self) -> bool:
        """Tell whether other processes do the work, which find in files alone what it reads."""

    def map(
        self, work: Work[B, M], blocks: Iterable[B], count: int, report: Reporter, processes: int = 1
    ) -> Iterator[M]:
        """Yield what is made of each of `count` blocks, in order, as it is done; blocks are asked for as needed.

        processes: how many of this machine's are worth starting, for an engine that has no others.
        """

    def close(self) -> None:
        """Give everything back."""
