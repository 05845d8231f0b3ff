"""Chosen: the negatives of every query while they are being chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hfembed.mine.rules import MINERS, Codes, Mask, Miner, code
from hfembed.ranking import NOBODY, Rows, Vectors


@dataclass
class Chosen:
    """Rows, scores and miners of the negatives of every query; -1 where a place is still free.

    A row past the last document is a given text that the corpus does not hold.
    tally: what was dropped or done, counted by reason.
    """

    rows: Rows
    scores: Vectors
    miners: Codes
    tally: Counter[str] = field(default_factory=Counter)

    @classmethod
    def none(cls, queries: int, negatives: int) -> Chosen:
        """Return places for negatives, all of them free."""
        shape = (queries, negatives)
        return cls(
            np.full(shape, NOBODY, dtype=np.int64),
            np.full(shape, np.nan, dtype=np.float32),
            np.zeros(shape, dtype=np.uint8),
        )

    def free(self) -> Rows:
        """Return how many places of every query are free."""
        places: Rows = (self.rows == NOBODY).sum(axis=1)
        return places

    def short(self) -> Mask:
        """Return which queries have a free place."""
        places: Mask = (self.rows == NOBODY).any(axis=1)
        return places

    def put(self, query: int, rows: Sequence[int], scores: Sequence[float], miner: Miner | Codes) -> None:
        """Put negatives into the first free places of a query; there must be enough."""
        start = int((self.rows[query] != NOBODY).sum())
        part = slice(start, start + len(rows))
        self.rows[query, part], self.scores[query, part] = rows, scores
        self.miners[query, part] = code(miner) if isinstance(miner, Miner) else miner

    def put_block(self, start: int, rows: Rows, scores: Vectors, miners: Codes) -> None:
        """Put negatives of a block of queries into their free places, the best first."""
        block = slice(start, start + len(rows))
        untouched = (self.rows[block] == NOBODY).all(axis=1)
        self.rows[block][untouched] = rows[untouched]
        self.scores[block][untouched] = scores[untouched]
        self.miners[block][untouched] = miners[untouched]
        for at in np.flatnonzero(~untouched):
            free = int((self.rows[start + at] == NOBODY).sum())
            there = np.flatnonzero(rows[at] != NOBODY)[:free]
            self.put(start + int(at), rows[at, there].tolist(), scores[at, there].tolist(), miners[at, there])

    def miner_counts(self, rows: Rows) -> dict[str, int]:
        """Return the negatives in the rows of the pairs by miner; `rows` holds the query of each."""
        counts = np.bincount(self.miners[rows][self.rows[rows] != NOBODY], minlength=len(MINERS))
        return {str(miner): int(count) for miner, count in zip(MINERS, counts, strict=True)}
