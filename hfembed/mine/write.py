"""Write: train.parquet, a row group at a time, so that the texts of all negatives are never in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.mine.asked import Asked
from hfembed.mine.chosen import Chosen
from hfembed.mine.given import Given
from hfembed.mine.rules import MINERS, Mask
from hfembed.mine.texts import Texts
from hfembed.ranking import Rows, Vectors

ROW_GROUP = 4_096


class Writer:
    """Turns rows of documents into columns of the training table."""

    def __init__(self, documents: Texts, given: Given, chosen: Chosen) -> None:
        """Write what was `chosen` among documents and given texts."""
        self._documents, self._given, self._chosen = documents, given, chosen

    def text(self, row: int) -> str:
        """Return the text of a document, or of a given negative that is none."""
        inside = row < len(self._documents)
        return self._documents.texts[row] if inside else self._given.texts[row - len(self._documents)]

    def write(self, pairs: Path, out: Path, asked: Asked, scores: Vectors, lost: Mask) -> int:
        """Copy the pairs to `out` with negatives beside them, but for queries that are `lost`; return the rows.

        scores: of the positive, by row of the pairs.
        """
        start, written = 0, 0
        with pq.ParquetFile(pairs) as source:
            names = [f"{name}" for number in range(self._chosen.rows.shape[1]) for name in _names(number + 1)]
            kinds = [pa.string(), pa.string(), pa.float32(), pa.string()] * self._chosen.rows.shape[1]
            added = [pa.field("score_positive", pa.float32()), *map(pa.field, names, kinds)]
            schema = pa.schema([*source.schema_arrow, *added])
            with pq.ParquetWriter(out, schema) as target:
                for batch in source.iter_batches(ROW_GROUP):
                    part = slice(start, start + len(batch))
                    queries = asked.rows.queries[part]
                    columns = [pa.array(scores[part], pa.float32()), *self._columns(queries)]
                    table = pa.Table.from_arrays([*batch.columns, *columns], schema=schema)
                    table = table.filter(pa.array(~lost[queries]))
                    target.write_table(table)
                    start, written = part.stop, written + len(table)
        return written

    def _columns(self, queries: Rows) -> list[Any]:
        columns = []
        for place in range(self._chosen.rows.shape[1]):
            rows = self._chosen.rows[queries, place].tolist()
            miners = self._chosen.miners[queries, place].tolist()
            total = len(self._documents)
            columns += [
                pa.array([self.text(row) if row >= 0 else None for row in rows], pa.string()),
                pa.array([self._documents.ids[row] if 0 <= row < total else "" for row in rows], pa.string()),
                pa.array(self._chosen.scores[queries, place], pa.float32()),
                pa.array([str(MINERS[miner]) for miner in miners], pa.string()),
            ]
        return columns


def _names(number: int) -> tuple[str, ...]:
    name = f"negative_{number}"
    return name, f"{name}_id", f"score_{name}", f"{name}_miner"
