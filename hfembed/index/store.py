"""Store: the table of an index in LanceDB. Every call to LanceDB is here and in `filters.py`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hfembed.corpus import DOCUMENTS
from hfembed.embed import Vectors
from hfembed.errors import NoSpaceError, RunError, first_line
from hfembed.index.manifest import Approximate
from hfembed.run import INDEX_LAYOUT
from hfembed.stage import explain

# Documents by their number in the table, with their scores, best first.
Scores = dict[int, float]

VECTOR, KEY, NUMBER, DISTANCE, SCORE = "vector", "key", "_rowid", "_distance", "_score"
TEXT = "text"
# Of a model with heads: the tokens of a document and their weights, and where the vectors of its tokens are.
TOKENS, WEIGHTS, FILE, START, COUNT = "tokens", "weights", "token_file", "token_start", "token_count"
HEAD_COLUMNS = (TOKENS, WEIGHTS, FILE, START, COUNT)
READ_ROWS = 8_192
# What all open tables together keep in memory of their indexes and of their files, in bytes; without a word LanceDB
# takes seven gigabytes. Two million vectors of 384 dimensions have room in it; what has none is read again and again,
# which takes several times as long.
INDEX_CACHE, METADATA_CACHE = 1 << 30, 128 << 20
# Names in one condition: a list of all that vanished could be as long as the corpus.
NAMES = 1_000


class Store:
    """Documents with their vectors, searched by vector and by words.

    Of each it holds the columns that `pull` writes, `text` being what is embedded (title first), a key that changes
    whenever anything of it does, and the vector; of a model with heads what it says of the tokens, too.
    """

    def __init__(self, folder: Path, similarity: str) -> None:
        """Open the table of an index, if there is one. similarity: cosine or dot."""
        import lancedb

        self._folder, self._similarity = folder, similarity
        with _words(folder):
            self._database = lancedb.connect(folder, session=_session())
        self._table = self._open()

    @property
    def exists(self) -> bool:
        """Tell whether there is a table yet."""
        return self._table is not None

    def __len__(self) -> int:
        """Return how many documents are in it."""
        return int(self._table.count_rows()) if self.exists else 0

    @property
    def folder(self) -> Path:
        """The folder of the index."""
        return self._folder

    @property
    def dimensions(self) -> int:
        """Return how long the vectors are."""
        return int(self._table.schema.field(VECTOR).type.list_size)

    @property
    def has_words(self) -> bool:
        """Tell whether words have been indexed."""
        return bool(self._indexes(TEXT))

    @property
    def has_parts(self) -> bool:
        """Tell whether the vectors have been divided into parts."""
        return bool(self._indexes(VECTOR))

    def add(self, rows: pa.Table, vectors: Vectors) -> None:
        """Add documents that are not there; all of them or, when the process dies, none."""
        table = _joined(rows, vectors)
        with _words(self._folder):
            if self._table is None:
                self._table = self._database.create_table(INDEX_LAYOUT.table, schema=table.schema)
            self._table.add(table)

    def add_words(self, rows: pa.Table) -> None:
        """Add documents without vectors, to a table that words alone are looked up in."""
        table = rows.select([*DOCUMENTS.names, KEY])
        with _words(self._folder):
            if self._table is None:
                self._table = self._database.create_table(INDEX_LAYOUT.table, schema=table.schema)
            self._table.add(table)

    def replace(self, rows: pa.Table, vectors: Vectors) -> None:
        """Put documents in the place of those of the same id; all of them or none."""
        self.replace_rows(_joined(rows, vectors))

    def replace_rows(self, rows: pa.Table) -> None:
        """Put documents with all of their columns in the place of those of the same id; all of them or none."""
        with _words(self._folder):
            self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove documents by id."""
        from lancedb.expr import col

        with _words(self._folder):
            for start in range(0, len(ids), NAMES):
                self._table.delete(col("id").isin(list(ids[start : start + NAMES])))

    def batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        """Yield columns of all documents, with their numbers, a few thousand at a time."""
        if self._table is None:
            return
        with _words(self._folder):
            reader = self._table.search().select(list(columns)).with_row_id(True).to_batches(batch_size=READ_ROWS)
            yield from reader

    def rows(self, numbers: Sequence[int], *columns: str) -> list[dict[str, Any]]:
        """Return columns of documents by their numbers, in that order."""
        if not numbers:
            return []
        with _words(self._folder):
            found = self._table.take_row_ids(list(numbers)).with_row_id().select(list(columns)).to_arrow().to_pylist()
        by_number = {row.pop(NUMBER): row for row in found}
        return [by_number[number] for number in numbers]

    def vectors(self, numbers: Sequence[int]) -> Vectors:
        """Return the vectors of documents by their numbers, in that order."""
        if not numbers:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return np.array([row[VECTOR] for row in self.rows(numbers, VECTOR)], dtype=np.float32)

    def spread(self, count: int) -> list[int]:
        """Return the numbers of some documents that are spread over all."""
        step, at, chosen = max(1, len(self) / max(1, count)), 0, list[int]()
        wanted = np.unique(np.arange(0, len(self), step).astype(np.int64))
        for batch in self.batches(KEY):
            numbers = batch[NUMBER].to_numpy()
            here = wanted[(wanted >= at) & (wanted < at + len(batch))] - at
            chosen += numbers[here].tolist()
            at += len(batch)
        return chosen

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers of documents by their ids."""
        from lancedb.expr import col

        found: dict[str, int] = {}
        with _words(self._folder):
            for start in range(0, len(ids), NAMES):
                chosen = col("id").isin(list(ids[start : start + NAMES]))
                table = self._table.search().where(chosen).select(["id"]).with_row_id(True).to_arrow()
                found |= dict(zip(table["id"].to_pylist(), table[NUMBER].to_pylist(), strict=True))
        return found

    def take(self, numbers: Sequence[int], *columns: str) -> pa.Table:
        """Return columns of documents by their numbers, in that order, as they lie."""
        with _words(self._folder):
            found = self._table.take_row_ids(list(numbers)).with_row_id().select(list(columns)).to_arrow()
        order = np.argsort(found[NUMBER].to_numpy())
        return found.take(order[np.searchsorted(found[NUMBER].to_numpy()[order], numbers)])

    def holding(self, column: str, value: int, count: int) -> pa.Table:
        """Return some of the documents that hold a value in a column, whole."""
        from lancedb.expr import col, lit

        with _words(self._folder):
            return self._table.search().where(col(column) == lit(value)).limit(count).to_arrow()

    def passing(self, where: Any) -> npt.NDArray[np.int64]:
        """Return the numbers of the documents that a condition holds for."""
        with _words(self._folder):
            found = self._table.search().where(where).select(["id"]).with_row_id(True).to_arrow()
        return np.asarray(found[NUMBER].to_numpy(), dtype=np.int64)

    def nearest(self, vector: Vectors, count: int, how: Approximate | None, where: Any = None) -> Scores:
        """Return the nearest documents of one vector: of all, or as an approximate index finds them."""
        with _words(self._folder):
            asked = self._table.search(np.asarray(vector, dtype=np.float32), vector_column_name=VECTOR)
            asked = asked.distance_type(self._similarity).select([DISTANCE]).with_row_id(True).limit(count)
            if where is not None:
                asked = asked.where(where)
            if how is None:
                asked = asked.bypass_vector_index()
            else:
                asked = asked.nprobes(how.probes).refine_factor(how.refine)
                if where is not None:  # it may leave too little in the nearest parts: then all are looked into
                    asked = asked.maximum_nprobes(0)
            found = asked.to_arrow()
        return _best(found, 1 - found[DISTANCE].to_numpy())

    def by_words(self, query: str, count: int, where: Any = None) -> Scores:
        """Return the best documents that share a word with a query, by BM25."""
        from lancedb.query import MatchQuery

        if not self.tokens(query):
            return {}
        with _words(self._folder):
            # A query as an object: its words are looked up as they are, and no sign in it means anything.
            asked = self._table.search(MatchQuery(query, TEXT), query_type="fts").select([SCORE]).with_row_id(True)
            asked = asked.limit(count)
            found = (asked.where(where) if where is not None else asked).to_arrow()
        return _best(found, found[SCORE].to_numpy())

    def tokens(self, text: str) -> list[str]:
        """Return the words of a text as they are looked up: stems, without those that every text has."""
        with _words(self._folder):
            return [token.text for token in self._table.tokenize(text, column=TEXT)]

    def index_words(self) -> None:
        """Index the words of all documents anew."""
        from lancedb.index import FTS

        with _words(self._folder):
            self._table.create_index(TEXT, config=FTS(), replace=True)

    def index_vectors(self, partitions: int) -> None:
        """Divide the vectors into parts: of each a byte per dimension is kept beside the vectors themselves."""
        from lancedb.index import IvfSq

        with _words(self._folder):
            # By the size of a part, which it keeps to: parts that were counted it joins to a few when files are merged.
            settings = IvfSq(
                distance_type=self._similarity, target_partition_size=max(1, round(len(self) / partitions))
            )
            self._table.create_index(VECTOR, config=settings, replace=True)

    def drop_vector_index(self) -> None:
        """Compare with all vectors from now on."""
        with _words(self._folder):
            for name in self._indexes(VECTOR):
                self._table.drop_index(name)

    def settle(self) -> None:
        """Merge small files, take new documents into the indexes, and let go of what was replaced."""
        with _words(self._folder), warnings.catch_warnings():
            # Who searches opens the newest version; two builds cannot meet, for a build holds the folder.
            warnings.filterwarnings("ignore", message="optimize")
            self._table.optimize(cleanup_older_than=timedelta(0))

    def _indexes(self, column: str) -> list[str]:
        with _words(self._folder):
            return [index.name for index in self._table.list_indices() if list(index.columns) == [column]]

    def _open(self) -> Any:
        if not (self._folder / INDEX_LAYOUT.table_folder).is_dir():
            return None
        with _words(self._folder):
            return self._database.open_table(INDEX_LAYOUT.table)


@lru_cache(maxsize=1)
def _session() -> Any:
    """Return what all tables of this process share: the memory for what they read again and again."""
    import lancedb

    return lancedb.Session(index_cache_size_bytes=INDEX_CACHE, metadata_cache_size_bytes=METADATA_CACHE)


def _joined(rows: pa.Table, vectors: Vectors) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    names = [*DOCUMENTS.names, KEY, *(name for name in HEAD_COLUMNS if name in rows.column_names)]
    return pa.table({**{name: rows[name] for name in names}, VECTOR: column})


def _best(found: pa.Table, scores: npt.NDArray[Any]) -> Scores:
    numbers = found[NUMBER].to_numpy()
    order = np.lexsort((numbers, -scores))
    return {int(numbers[at]): float(scores[at]) for at in order}


@contextmanager
def _words(folder: Path) -> Iterator[None]:
    """Say what LanceDB could not do in words of ours."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        said = explain(error, "the index", folder)
        if isinstance(said, NoSpaceError):
            raise said from error
        raise RunError(
            f"The index in '{folder}' cannot be used: {first_line(error)}",
            "Repeat the command; if that does not help, hfembed index CORPUS --model MODEL --out DIR --force",
        ) from error


def best_first(scores: Mapping[int, float], count: int) -> list[int]:
    """Return the numbers of the best documents; of equals the one that came into the index first."""
    return sorted(scores, key=lambda number: (-scores[number], number))[:count]
