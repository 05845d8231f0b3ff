"""Journal: an array on disk that grows by blocks, so that a killed run goes on after the last whole one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.run import hash_json, write_json


class Journal:
    """Rows of one width and type; those that were appended before the process died are there again."""

    def __init__(self, folder: Path, dtype: npt.DTypeLike, width: int) -> None:
        """Open the journal in `folder`, without what was left half-written there."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._data, self._state = folder / "rows.bin", folder / "state.json"
        self._dtype, self._width = np.dtype(dtype), width
        state = json.loads(self._state.read_text(encoding="utf-8")) if self._state.exists() else {}
        self.count = int(state.get("rows", 0))
        with self._data.open("ab") as handle:
            if handle.tell() < self._bytes():
                self.count = 0  # the file lost its end, as after a power cut
            handle.truncate(self._bytes())

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add a block; it counts once this returns."""
        with self._data.open("ab") as handle:
            handle.write(np.ascontiguousarray(rows, dtype=self._dtype).tobytes())
        self.count += len(rows)
        write_json(self._state, {"rows": self.count})

    def rows(self) -> npt.NDArray[Any]:
        """Return everything as a memory map."""
        shape = (self.count, self._width)
        if not self.count or not self._width:
            return np.empty(shape, dtype=self._dtype)
        return np.memmap(self._data, dtype=self._dtype, mode="r", shape=shape)

    def _bytes(self) -> int:
        return self.count * self._width * self._dtype.itemsize


def journal_folder(parent: Path, name: str, key: Any) -> Path:
    """Return the folder of what `key` decides, and remove those of other keys: they are of no more use."""
    folder = parent / f"{name}-{hash_json(key)[:16]}"
    for other in parent.glob(f"{name}-*"):
        if other != folder:
            shutil.rmtree(other)
    return folder
