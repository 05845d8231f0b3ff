"""ZeroGPU: the functions that a Space without a GPU of its own may borrow one for, and for how long they ask for it.

A GPU is lent to one call of a decorated function, in a process forked from the one that serves the page, and to that
process's number alone. So a visitor's run, which is a process of its own and outlives the page, works on the CPU; what
is borrowed for is comparing, where the page itself encodes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

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


def seconds_to_encode(texts: int, models: int) -> int:
    """Return for how long to borrow a GPU that encodes so many texts with each of so many models."""
    return min(MOST_SECONDS, round(models * (LOAD_SECONDS + texts / TEXTS_PER_SECOND)))
