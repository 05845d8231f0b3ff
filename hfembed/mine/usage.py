"""Usage: how often each document serves as a negative."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hfembed.mine.rules import Mask
from hfembed.ranking import Rows

# A document may serve this many times as often as the mean.
SPREAD = 1.5


class Usage:
    """How often each document serves as a negative, and how often it may."""

    def __init__(self, documents: int, negatives: int) -> None:
        """Spread `negatives` over `documents`."""
        self.limit = int(np.ceil(SPREAD * negatives / documents))
        self.counts: npt.NDArray[np.int32] = np.zeros(documents, dtype=np.int32)

    def full(self, rows: Rows) -> Mask:
        """Return which documents serve as often as they may."""
        spent: Mask = self.counts[rows] >= self.limit
        return spent

    def add(self, rows: list[int]) -> None:
        """Count documents as used once more; texts from outside the corpus are not counted."""
        inside = [row for row in rows if row < len(self.counts)]
        np.add.at(self.counts, inside, 1)

    def describe(self) -> dict[str, float]:
        """Return how evenly documents serve, for the manifest."""
        return {"gini": round(self.gini(), 4), "most_used": int(self.counts.max()), "usage_cap": self.limit}

    def gini(self) -> float:
        """Return how unevenly documents are used: 0 all alike, near 1 a few for all."""
        counts = np.sort(self.counts).astype(np.float64)
        if not counts.sum():
            return 0.0
        ranks = np.arange(1, len(counts) + 1)
        return float(((2 * ranks - len(counts) - 1) * counts).sum() / (len(counts) * counts.sum()))
