"""Worker: a process of Ray. It opens work when the first block of it comes, and keeps it open for the next ones."""

from __future__ import annotations

import pickle
import platform
from typing import TYPE_CHECKING, Any

from hfembed.engine.contract import Work
from hfembed.engine.parcel import Parcel
from hfembed.errors import EngineError, HfembedError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

# The columns of what comes and goes, a row for a block.
NUMBER, BLOCK, MADE, FAILED = "number", "block", "made", "failed"

_opened: tuple[str, Work[Any, Any]] | None = None


def work_on(table: pa.Table, key: str, parcel: list[Any], doing: str) -> pa.Table:
    """Return what is made of the blocks of a table. parcel: a reference to it, alone in a list so that it stays one."""
    import pyarrow as pa

    numbers = table[NUMBER].to_pylist()
    made: list[bytes | None] = []
    failed: list[bytes | None] = []
    for block in table[BLOCK]:
        try:
            found = _open(key, parcel[0], doing)(pickle.loads(block.as_buffer()))
            made.append(pickle.dumps(found, protocol=pickle.HIGHEST_PROTOCOL))
            failed.append(None)
        except Exception as error:
            # Told as an answer: what fails here fails anywhere, so Ray is not to try it again.
            made.append(None)
            failed.append(pickle.dumps(_explain(error, doing)))
    columns = {NUMBER: pa.array(numbers), MADE: pa.array(made, pa.binary()), FAILED: pa.array(failed, pa.binary())}
    return pa.table(columns)


class Worker:
    """The same as an actor, for machines with GPUs: it holds one as long as it lives."""

    def __init__(self, key: str, parcel: list[Any], doing: str) -> None:
        """Work on what the parcel holds."""
        self._told = (key, parcel, doing)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return what is made of the blocks of a table."""
        return work_on(table, *self._told)


def _open(key: str, reference: Any, doing: str) -> Work[Any, Any]:
    global _opened
    if _opened is None or _opened[0] != key:
        import ray

        _opened = None  # what was held is of no more use, and there may be no room for both
        parcel: Parcel = ray.get(reference)
        _opened = (key, parcel.open(ray.get, platform.node()))
    return _opened[1]


def _explain(error: Exception, doing: str) -> HfembedError:
    if isinstance(error, HfembedError):
        return error
    return EngineError(
        f"{doing} failed on {platform.node()}: {type(error).__name__}: {first_line(error)}",
        "The same with --engine local shows whether it is this machine's fault.",
    )
