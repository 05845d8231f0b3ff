"""Space: what the parts of mine hand to one another: vectors and candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.embed import of_unit_length
from hfembed.ranking import Vectors

# A document, its score by the model, and its rank in each source; -1 where a source did not find it.
CANDIDATE = np.dtype([("row", "<i4"), ("score", "<f4"), ("dense", "<i2"), ("bm25", "<i2")])
Candidates = npt.NDArray[Any]
# How long vectors are is told from so many.
SCALED = 1_000


@dataclass(frozen=True)
class Space:
    """The vectors of all queries and documents; either may be a memory map."""

    queries: Vectors
    documents: Vectors

    def scale(self) -> np.float32:
        """Return how much larger scores are than cosines: vectors of a model that compares by dot product are longer."""
        if of_unit_length(self.documents):
            return np.float32(1.0)
        lengths = [np.linalg.norm(part[:SCALED], axis=1).mean() for part in (self.queries, self.documents)]
        return np.float32(lengths[0] * lengths[1])
