"""Tokens: the vectors of the tokens of documents, in files beside the table, which says of each where its own are.

They take a hundred times the place of all else, and a database that rewrites its files whenever some documents change
would write them over and over: here a file is written once, before the documents that are in it, and only read then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hfembed.errors import RunError
from hfembed.heads.search import TokenVectors
from hfembed.index.store import COUNT, FILE, START, Store
from hfembed.run import INDEX_LAYOUT

# A file of which a smaller share is still needed is written anew.
NEEDED = 0.5
# Documents that are moved to another file at a time.
MOVED = 1_024


class TokenFiles:
    """The files of an index that hold vectors of tokens, by their numbers."""

    def __init__(self, index: Path) -> None:
        """Read and write those of the index in a folder."""
        self._folder = index / INDEX_LAYOUT.tokens
        self._open: dict[int, TokenVectors] = {}

    def path(self, number: int) -> Path:
        """Return where a file is."""
        return self._folder / INDEX_LAYOUT.token_file.format(number=number)

    def next(self) -> int:
        """Return the number of a file that is not there yet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return max(self._numbers(), default=-1) + 1

    def vectors(self, places: Mapping[str, Any], width: int) -> TokenVectors:
        """Return the vectors of a document's tokens. places: the columns of the table that say where they are."""
        file = self._mapped(places[FILE]).reshape(-1, width)
        start, count = places[START], places[COUNT]
        if start + count > len(file):
            raise RunError(
                f"'{self.path(places[FILE])}' is shorter than the index says.",
                "Build the index again: hfembed index CORPUS --model MODEL --out DIR --force",
            )
        return file[start : start + count]

    def settle(self, store: Store, width: int) -> None:
        """Remove files that no document needs, as one that a killed build wrote, and rewrite those that few need."""
        needed: dict[int, int] = {}
        for batch in store.batches(FILE, COUNT):
            files, counts = batch[FILE].to_numpy(), batch[COUNT].to_numpy()
            for number in np.unique(files):
                needed[int(number)] = needed.get(int(number), 0) + int(counts[files == number].sum())
        for number in self._numbers():
            if needed.get(number, 0) * width * np.float16().nbytes < NEEDED * self.path(number).stat().st_size:
                self._move(store, number, width)
                self._open.pop(number, None)
                self.path(number).unlink()

    def _move(self, store: Store, number: int, width: int) -> None:
        while len(rows := store.holding(FILE, number, MOVED)):
            places = rows.select([FILE, START, COUNT]).to_pylist()
            moved = self.next()
            self.write(self.path(moved), (self.vectors(place, width) for place in places))
            ends = np.cumsum(rows[COUNT].to_numpy())
            store.replace_rows(with_places(rows, moved, ends - rows[COUNT].to_numpy(), ends))

    @staticmethod
    def write(file: Path, documents: Iterable[TokenVectors]) -> None:
        """Write the vectors of some documents one behind the other."""
        with file.open("wb") as handle:
            for vectors in documents:
                handle.write(np.ascontiguousarray(vectors).tobytes())

    def _numbers(self) -> list[int]:
        return sorted(int(file.stem) for file in self._folder.glob("*.f16"))

    def _mapped(self, number: int) -> TokenVectors:
        if number not in self._open:
            try:
                self._open[number] = np.memmap(self.path(number), dtype=np.float16, mode="r")
            except (OSError, ValueError) as error:
                raise RunError(
                    f"'{self.path(number)}', which is a part of the index, cannot be read: {error}",
                    "Build the index again: hfembed index CORPUS --model MODEL --out DIR --force",
                ) from error
        return self._open[number]


def with_places(rows: pa.Table, number: int, starts: Any, ends: Any) -> pa.Table:
    """Return documents with columns that say where the vectors of their tokens are."""
    columns = {
        FILE: pa.array(np.full(len(rows), number, dtype=np.int32)),
        START: pa.array(np.asarray(starts, dtype=np.int64)),
        COUNT: pa.array(np.asarray(ends - starts, dtype=np.int32)),
    }
    left = rows.drop_columns([name for name in columns if name in rows.column_names])
    return pa.table({**{name: left[name] for name in left.column_names}, **columns})
