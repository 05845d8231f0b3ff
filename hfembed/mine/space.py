"""Space: what the parts of mine hand to one another: vectors and candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.ranking import Vectors

# A document, its score by the model, and its rank in each source; -1 where a source did not find it.
CANDIDATE = np.dtype([("row", "<i4"), ("score", "<f4"), ("dense", "<i2"), ("bm25", "<i2")])
Candidates = npt.NDArray[Any]


@dataclass(frozen=True)
class Space:
    """The vectors of all queries and documents; either may be a memory map."""

    queries: Vectors
    documents: Vectors
