"""Texts: the documents of a run by row, on disk, so that a large corpus takes no memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hfembed.corpus import join_title
from hfembed.ranking import Rows

BATCH = 8_192
COLUMNS = pa.schema([("id", pa.string()), ("text", pa.string())])


class Column(Sequence[str]):
    """One column of strings in memory-mapped batches of equal length."""

    def __init__(self, batches: list[pa.Array]) -> None:
        """Read from `batches`, all of them BATCH long but the last."""
        self._batches, self._length = batches, sum(map(len, batches))

    def __len__(self) -> int:
        """Return the number of strings."""
        return self._length

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        """Read one string, or a few."""
        if isinstance(at, slice):
            return [self[row] for row in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        text: str = self._batches[at // BATCH][at % BATCH].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        """Read all, a batch in memory at a time."""
        for batch in self._batches:
            yield from batch.to_pylist()

    def column(self) -> pa.ChunkedArray:
        """Return the column as it lies on disk."""
        return pa.chunked_array(self._batches, pa.string())


class Texts:
    """Ids, embedded texts, groups and sources of the documents, by row; a source is what a chunk was cut from."""

    def __init__(self, documents: Path, folder: Path) -> None:
        """Copy what pull wrote to a file in `folder` that can be memory-mapped."""
        file = folder / "texts.arrow"
        groups, sources = _copy(documents, file)
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self.ids = Column([batch.column("id") for batch in batches])
        self.texts = Column([batch.column("text") for batch in batches])
        self.groups: Rows = groups
        self.sources: Rows = sources

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.groups)

    def rows_of(self, ids: pa.Array) -> pa.Array:
        """Return the rows of documents by id; null where there is none."""
        return pc.index_in(ids, value_set=self.ids.column())


def _copy(documents: Path, file: Path) -> tuple[Rows, Rows]:
    """Write id and embedded text in batches; return the number of each document's group, and of its source."""
    numbers: dict[str, dict[str, int]] = {"group": {}, "document": {}}
    found: dict[str, list[Rows]] = {name: [np.empty(0, dtype=np.int64)] for name in numbers}
    with pq.ParquetFile(documents) as table, pa.ipc.new_file(str(file), COLUMNS) as out:
        for batch in table.iter_batches(BATCH, columns=["id", "title", "text", *numbers]):
            read = batch.to_pydict()
            texts = [join_title(title, text) for title, text in zip(read["title"], read["text"], strict=True)]
            out.write_batch(pa.record_batch([batch.column("id"), pa.array(texts, pa.string())], schema=COLUMNS))
            for column, known in numbers.items():
                own = [known.setdefault(name, len(known)) for name in read[column]]
                found[column].append(np.array(own, dtype=np.int64))
    return np.concatenate(found["group"]), np.concatenate(found["document"])
