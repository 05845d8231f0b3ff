"""Lexical: candidates by BM25, from indexes that lie on disk and are read as memory maps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hfembed.events import Reporter
from hfembed.ranking import NOBODY, Pairs, Rows
from hfembed.run import write_json

if TYPE_CHECKING:
    import bm25s

# Documents in one index. Building an index holds its documents in memory; searching one does not.
SHARD = 65_536
DONE = "done.json"


class Lexical:
    """BM25 over a corpus in shards.

    A shard takes every n-th document, so that all know words to be about as rare and their scores can be
    compared; a corpus that fits one shard is ranked as by one index.
    """

    def __init__(self, texts: Sequence[str], folder: Path, report: Reporter, shard: int = SHARD) -> None:
        """Index `texts` below `folder`; shards that are there already are kept."""
        self.folder = folder
        folders = [folder / f"shard-{number}" for number in range(-(-len(texts) // shard))]
        missing = [at for at, place in enumerate(folders) if not (place / DONE).is_file()]
        if missing:
            for at in report.each(missing, "indexing words", len(missing), "indexes"):
                _index(texts[at :: len(folders)], folders[at])
        self._shards = [_open(place) for place in folders]

    @classmethod
    def open(cls, folder: Path) -> Lexical:
        """Open an index that is there."""
        opened = cls.__new__(cls)
        opened.folder = folder
        count = sum(1 for place in folder.glob("shard-*") if (place / DONE).is_file())
        opened._shards = [_open(folder / f"shard-{number}") for number in range(count)]
        return opened

    def top(self, queries: Sequence[str], count: int, excluded: Pairs) -> Rows:
        """Return the rows of the best documents that share a word with the query; -1 where there are no more."""
        words = _words(queries)
        extra = int(np.bincount(excluded.queries).max()) if len(excluded.queries) else 0
        parts = [self._top_of(number, words, count + extra) for number in range(len(self._shards))]
        rows = np.concatenate([part[0] for part in parts], axis=1)
        scores = np.concatenate([part[1] for part in parts], axis=1)
        for query in np.unique(excluded.queries):
            own = excluded.documents[excluded.queries == query]
            scores[query, np.isin(rows[query], own)] = -np.inf
        rows[scores <= 0] = NOBODY
        scores[scores <= 0] = -np.inf
        order = np.lexsort((rows, -scores), axis=1)[:, :count]
        return np.take_along_axis(rows, order, axis=1)

    def _top_of(self, number: int, words: list[list[str]], count: int) -> tuple[Rows, np.ndarray]:
        index = self._shards[number]
        size = int(index.scores["num_docs"])
        rows, scores = index.retrieve(words, k=min(count, size), show_progress=False)
        return np.asarray(rows, dtype=np.int64) * len(self._shards) + number, np.array(scores, dtype=np.float32)


def _index(texts: Sequence[str], folder: Path) -> None:
    import bm25s

    index = bm25s.BM25(method="lucene")
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    index.save(str(folder), show_progress=False)
    write_json(folder / DONE, {"documents": len(texts)})


def _open(folder: Path) -> bm25s.BM25:
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.ERROR)
    return bm25s.BM25.load(str(folder), mmap=True)


def _words(queries: Sequence[str]) -> list[list[str]]:
    import bm25s

    words: list[list[str]] = bm25s.tokenize(list(queries), stopwords="en", return_ids=False, show_progress=False)
    return words
