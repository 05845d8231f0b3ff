"""Vectors and documents that were made up: an index of them needs no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hfembed.embed import Vectors, unit
from hfembed.index.known import hashes
from hfembed.index.store import KEY, TEXT, Store


def clustered(count: int, dimensions: int = 32, seed: int = 0) -> Vectors:
    """Return vectors that stand in clusters, as those of texts do."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(max(2, count // 50), dimensions))
    found = centres[draw.integers(0, len(centres), count)] + 0.7 * draw.normal(size=(count, dimensions))
    return unit(found.astype(np.float32))


def rows_of(count: int, **columns: Any) -> pa.Table:
    """Return documents without content, but for what is given."""
    ids = [f"d{number}" for number in range(count)]
    values = {"id": ids, "title": [""] * count, TEXT: ids, "group": ids, "document": ids, **columns}
    return pa.table({**values, KEY: pa.array(hashes(values[TEXT]))})


def stored(folder: Path, vectors: Vectors, similarity: str = "cosine", **columns: Any) -> Store:
    """Return a store that holds such documents."""
    store = Store(folder, similarity)
    store.add(rows_of(len(vectors), **columns), vectors)
    store.index_words()
    return store


def ranked(place: int) -> dict[int, float]:
    """Return a ranking in which document 0 stands at this place."""
    others = iter(range(1, 30))
    return {0 if at == place else next(others): 1.0 - at / 20 for at in range(20)}
