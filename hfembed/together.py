"""Several processes that train one model, as `accelerate launch` or `torchrun` starts them.

The first one works through the run as ever. The others follow: they wait to be told what to train, train
along, and learn from the first all that it decides.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hfembed.train.tuner import Task

T = TypeVar("T")

# How long followers wait for the stages before training, which the first process does alone.
PATIENCE = timedelta(days=7)
LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR")


def processes() -> int:
    """Return how many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in LAUNCHED) else 1


def is_follower() -> bool:
    """Tell whether another process is the first."""
    return processes() > 1 and os.environ["RANK"] != "0"


def from_first(value: T) -> T:
    """Return the first process's value in every process."""
    if processes() == 1:
        return value
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]
    from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    values: list[Any] = [value]
    broadcast_object_list(values)
    found: T = values[0]
    return found


def follow() -> None:
    """Where another process is the first: train along whatever it trains, and end when it says that it is done."""
    if not is_follower():
        return
    from hfembed.train.tuner import train_along

    while (task := from_first(_nothing())) is not None:
        train_along(task)
    raise SystemExit(0)  # what there is to say of the run the first process says


def dismiss() -> None:
    """Tell the followers that nothing more is to be trained."""
    if processes() > 1:
        from_first(_nothing())


def _nothing() -> Task | None:
    return None
