"""Groups: which documents may not stand in different splits, and the corpus written down with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.corpus import DOCUMENTS, join_title
from hfembed.pull.near import Bands, Rows, Sketches, join_groups

# A corpus that shares one template makes one large group, which no split can cut.
LARGE_SHARE = 0.2


def name_groups(draft: Path, bands: Bands, threshold: float, documents: Rows) -> dict[str, str]:
    """Return, by document, the name of its group, for those that share theirs with a near duplicate.

    draft: what was written so far, without groups. documents: the number of the document of every row.
    """
    pairs = bands.pairs(documents)
    if not len(pairs):
        return {}
    wanted = np.unique(pairs)
    sketches = Sketches()
    read_rows(draft, ("title", "text"), wanted, lambda rows: sketches.add(embedded_texts(rows)))
    shared = sketches.shared(np.searchsorted(wanted, pairs))
    groups = join_groups(documents[pairs[shared >= threshold]], int(documents[-1]) + 1)
    members = np.flatnonzero(np.bincount(groups)[groups] > 1)
    ids: list[str] = []
    first_rows = np.searchsorted(documents, members)
    read_rows(draft, ("document",), first_rows, lambda rows: ids.extend(rows["document"].to_pylist()))
    names: dict[int, str] = {}
    for group, identity in zip(groups[members].tolist(), ids, strict=True):
        names[group] = min(identity, names.get(group, identity))
    return {identity: names[group] for group, identity in zip(groups[members].tolist(), ids, strict=True)}


def read_rows(file: Path, columns: Sequence[str], wanted: Rows, take: Callable[[pa.Table], None]) -> None:
    """Hand over some rows of a table, named by their sorted numbers, one row group at a time."""
    table = pq.ParquetFile(file)
    first = 0
    for number in range(table.num_row_groups):
        following = first + table.metadata.row_group(number).num_rows
        low, high = np.searchsorted(wanted, (first, following))
        if high > low:
            take(table.read_row_group(number, columns=list(columns)).take(pa.array(wanted[low:high] - first)))
        first = following


def write_groups(draft: Path, file: Path, group_of: Callable[[pa.Table], list[str]]) -> None:
    """Write the table anew with its groups, one row group at a time."""
    table = pq.ParquetFile(draft)
    with pq.ParquetWriter(file, DOCUMENTS) as writer:
        for number in range(table.num_row_groups):
            rows = table.read_row_group(number)
            rows = rows.append_column("group", pa.array(group_of(rows), pa.string()))
            writer.write_table(rows.select(DOCUMENTS.names))


def embedded_texts(rows: pa.Table) -> list[str]:
    """Return the texts of some rows as they are embedded."""
    titles, texts = rows["title"].to_pylist(), rows["text"].to_pylist()
    return [join_title(title, text) for title, text in zip(titles, texts, strict=True)]


def largest_group(names: dict[str, str]) -> int:
    """Return how many documents the largest group has."""
    return max(Counter(names.values()).values(), default=0)
