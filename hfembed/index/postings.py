"""Postings: for every token the documents that have it, with its weight there, so that a query reads its own tokens only.

They are made of what the table holds once it is settled, and mapped from files: of a corpus a search has in memory no
more than a number for each document.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.embed import Vectors
from hfembed.errors import RunError
from hfembed.index.store import NUMBER, TOKENS, WEIGHTS, Store
from hfembed.ranking import Rows
from hfembed.run import INDEX_LAYOUT

# The numbers of documents, sorted; where the documents of each token start; by token, places in the first, and weights.
NUMBERS, STARTS, PLACES, WEIGHED = "numbers.npy", "starts.npy", "places.npy", "weights.npy"


def write_postings(store: Store, index: Path) -> None:
    """Write the postings of all documents of an index, a few thousand documents in memory at a time."""
    # In new files: who searches meanwhile has the old ones open.
    folder = index / INDEX_LAYOUT.partial
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    counts = np.zeros(0, dtype=np.int64)
    numbers: list[Rows] = []
    for batch in store.batches(TOKENS):
        found = np.bincount(batch[TOKENS].flatten().to_numpy())
        counts = np.pad(counts, (0, max(0, len(found) - len(counts))))
        counts[: len(found)] += found
        numbers.append(batch[NUMBER].to_numpy().astype(np.int64))
    rows = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *numbers]))
    starts = np.concatenate([[0], np.cumsum(counts)])
    np.save(folder / NUMBERS, rows)
    np.save(folder / STARTS, starts)
    _fill(store, rows, starts, folder)
    shutil.rmtree(index / INDEX_LAYOUT.postings, ignore_errors=True)
    folder.rename(index / INDEX_LAYOUT.postings)


def _fill(store: Store, numbers: Rows, starts: Rows, folder: Path) -> None:
    shape = (int(starts[-1]),)
    places = np.lib.format.open_memmap(folder / PLACES, mode="w+", dtype=np.uint32, shape=shape)
    weighed = np.lib.format.open_memmap(folder / WEIGHED, mode="w+", dtype=np.float32, shape=shape)
    free = starts[:-1].copy()
    for batch in store.batches(TOKENS, WEIGHTS):
        tokens, weights = (batch[name].flatten().to_numpy() for name in (TOKENS, WEIGHTS))
        lengths = np.diff(batch[TOKENS].offsets.to_numpy())
        of = np.repeat(np.searchsorted(numbers, batch[NUMBER].to_numpy().astype(np.int64)), lengths)
        order = np.argsort(tokens, kind="stable")
        tokens = tokens[order]
        behind = np.arange(len(tokens)) - np.searchsorted(tokens, tokens)  # how many of the same token stand before
        to = free[tokens] + behind
        places[to], weighed[to] = of[order], weights[order]
        free += np.bincount(tokens, minlength=len(free))
    places.flush()
    weighed.flush()


class Postings:
    """The postings of an index, ready to be asked."""

    def __init__(self, index: Path) -> None:
        """Open those of the index in a folder."""
        folder = index / INDEX_LAYOUT.postings
        try:
            self.numbers: Rows = np.load(folder / NUMBERS, mmap_mode="r")
            self._starts: Rows = np.load(folder / STARTS)
            self._places, self._weights = _mapped(folder / PLACES), _mapped(folder / WEIGHED)
        except (OSError, ValueError) as error:
            raise RunError(
                f"The weights of tokens in '{folder}' cannot be read: {error}",
                "Build the index again: hfembed index CORPUS --model MODEL --out DIR --force",
            ) from error

    def scores(self, tokens: npt.NDArray[Any], weights: Vectors) -> Vectors:
        """Return for every document, by place, the sum of the products of the weights of shared tokens."""
        found = np.zeros(len(self.numbers), dtype=np.float32)
        for places, weighed, weight in self._of(tokens, weights):
            found[places] += weighed * weight  # a document is in a token's postings once
        return found

    def places(self, numbers: Rows) -> Rows:
        """Return the places of documents by their numbers in the table."""
        return np.searchsorted(self.numbers, numbers)

    def _of(self, tokens: npt.NDArray[Any], weights: Vectors) -> Iterator[tuple[Any, Vectors, np.float32]]:
        for token, weight in zip(tokens, weights, strict=True):
            if token < len(self._starts) - 1:
                part = slice(self._starts[token], self._starts[token + 1])
                yield self._places[part], self._weights[part], weight


def _mapped(file: Path) -> Any:
    found = np.load(file, mmap_mode="r")
    return found
