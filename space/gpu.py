"""ZeroGPU: what a Space without a GPU of its own borrows one for, and for how long it asks for it.

A GPU is lent to one call of a decorated function, in a process forked from the one that serves the page, and to that
process's number alone. So a visitor's run, which is a process of its own and outlives the page, works on the CPU. What
is borrowed for is encoding the documents of a corpus that a model has never seen; a query is encoded faster here than
a GPU is found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from hfembed.embed import Embedder
from hfembed.hub import ModelSource

F = TypeVar("F", bound=Callable[..., Any])

VARIABLE = "SPACES_ZERO_GPU"
# To load a model; texts that are encoded in a second, on the safe side; and what a visitor's daily quota can bear.
LOAD_SECONDS, TEXTS_PER_SECOND, MOST_SECONDS = 10, 400, 120


def on_gpu(seconds: Callable[..., int]) -> Callable[[F], F]:
    """Lend the decorated function a GPU on ZeroGPU, for as long as `seconds` says of its arguments; change nothing else.

    It has to be applied while the module is imported: `spaces` must come before whatever starts CUDA.
    """
    if not is_zero_gpu():
        return lambda function: function
    import spaces

    decorate: Callable[[F], F] = spaces.GPU(duration=seconds)
    return decorate


def is_zero_gpu() -> bool:
    """Tell whether this is a Space that borrows its GPU."""
    return os.environ.get(VARIABLE, "").lower() in ("1", "t", "true") and find_spec("spaces") is not None


def seconds_to_encode(texts: int) -> int:
    """Return for how long to borrow a GPU that encodes so many texts."""
    return min(MOST_SECONDS, round(LOAD_SECONDS + texts / TEXTS_PER_SECOND))


def borrowed_seconds(source: ModelSource, texts: Sequence[str], folder: Path) -> int:
    """Return for how long `encode_documents` may need a GPU."""
    return seconds_to_encode(len(texts))


@on_gpu(borrowed_seconds)
def encode_documents(source: ModelSource, texts: list[str], folder: Path) -> None:
    """Fill the store of a model with documents; they are read from there by whoever asks next."""
    Embedder(source, folder).documents(texts)
