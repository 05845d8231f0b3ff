"""Near duplicates: MinHash signatures, bands of them sorted instead of kept in dictionaries, and a check of each pair."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hfembed.text import WORD

# Scripts that put no space between words are taken by the character.
UNIT = re.compile(rf"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|{WORD.pattern}")
# Texts are compared by the runs of this many words they share.
SHINGLE = 3
# Beyond its ends a text goes on with nothing, so that every word is in as many runs: texts of one template that
# differ in their last word alone would be alike otherwise.
EDGE = (0,) * (SHINGLE - 1)
PERMUTATIONS = 126
SEED = 1
# With 21 bands of 6 a pair that shares 80 % is looked at with a probability of 0.998; below 75 % bands are shorter.
LONG_BAND, SHORT_BAND, LONG_BAND_FROM = 6, 3, 0.75
# In a band of many equal texts each is compared with the next few, and union-find does the rest.
NEIGHBOURS = 3
# Shingles kept of a text for the check; of a longer one the smallest, which estimate it within 2.5 %.
SKETCH = 256
PAIRS_AT_ONCE = 4_096

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]


def shingle_hashes(texts: Iterable[str]) -> tuple[Hashes, Rows]:
    """Return the hashed shingles of all texts in one array, and where those of each begin; the end stands last."""
    words: list[int] = []
    counts = []
    for text in texts:
        found = [zlib.crc32(unit.encode("utf-8", "surrogatepass")) for unit in UNIT.findall(text.lower())]
        if not found:
            counts.append(0)
            continue
        words += [*EDGE, *found, *EDGE]
        counts.append(len(found) + len(EDGE))
    hashes, length = np.array(words, np.uint64), np.array(counts, np.int64)
    begins = np.concatenate([[0], np.cumsum(length)])
    # A text stands in `words` with one edge more than it has shingles.
    starts = begins[:-1] + len(EDGE) * (np.cumsum(length > 0) - (length > 0))
    at = _ranges(starts, length)
    mixed = np.zeros(len(at), np.uint64)
    for place in range(SHINGLE):
        mixed = _mix(mixed + hashes[at + place])
    return mixed, begins


class Bands:
    """Collects what is needed to find texts that may be near duplicates: 168 bytes a text."""

    def __init__(self, threshold: float) -> None:
        """Look for pairs that share at least `threshold` of their shingles."""
        self._rows = LONG_BAND if threshold >= LONG_BAND_FROM else SHORT_BAND
        self._blocks: list[Hashes] = []
        self._empty: list[npt.NDArray[np.bool_]] = []

    def add(self, texts: Sequence[str]) -> None:
        """Take in the next texts."""
        from rensa import RMinHash  # 120 times as fast as datasketch, which is Python

        hashes, begins = shingle_hashes(texts)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, begins.astype(np.uint64), PERMUTATIONS, SEED)
        signatures = np.array(matrix.to_rows(), np.uint64).reshape(len(texts), -1, self._rows)
        keys = np.zeros(signatures.shape[:2], np.uint64)
        for place in range(self._rows):
            keys = _mix(keys + signatures[:, :, place])
        self._blocks.append(keys)
        self._empty.append(np.diff(begins) == 0)

    def pairs(self, documents: Rows) -> Rows:
        """Return the pairs of rows that agree in a band, an array of two columns; never two of one document."""
        empty = np.concatenate(self._empty)
        found = np.zeros(0, np.uint64)
        for band in range(PERMUTATIONS // self._rows):
            keys = np.concatenate([block[:, band] for block in self._blocks])
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            for distance in range(1, NEIGHBOURS + 1):
                same = np.flatnonzero(keys[distance:] == keys[:-distance])
                first, second = order[same], order[same + distance]
                usable = (documents[first] != documents[second]) & ~empty[first] & ~empty[second]
                codes = first[usable].astype(np.uint64) << np.uint64(32) | second[usable].astype(np.uint64)
                found = np.union1d(found, codes)
        return np.stack([found >> np.uint64(32), found & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)


class Sketches:
    """The smallest shingles of some texts: all of a short one's, enough of a long one's to tell what two share."""

    def __init__(self) -> None:
        """Begin with none."""
        self._blocks: list[Hashes] = []
        self._lengths: list[int] = []

    def add(self, texts: Iterable[str]) -> None:
        """Take in the next texts."""
        hashes, begins = shingle_hashes(texts)
        short = hashes >> np.uint64(32)
        for start, end in pairwise(begins.tolist()):
            block = np.unique(short[start:end])[:SKETCH]
            self._blocks.append(block.astype(np.uint32))
            self._lengths.append(len(block))

    def shared(self, pairs: Rows) -> npt.NDArray[np.float64]:
        """Return which share of all their shingles the two texts of each pair have in common."""
        hashes = np.concatenate(self._blocks).astype(np.uint64)
        lengths = np.array(self._lengths, np.int64)
        begins = np.cumsum(lengths) - lengths
        blocks = [pairs[at : at + PAIRS_AT_ONCE] for at in range(0, len(pairs), PAIRS_AT_ONCE)]
        return np.concatenate([_shared(block, hashes, begins, lengths) for block in blocks] or [np.zeros(0)])


def _shared(pairs: Rows, hashes: Hashes, begins: Rows, lengths: Rows) -> npt.NDArray[np.float64]:
    count = len(pairs)
    sides = []
    for side in (0, 1):
        texts = pairs[:, side]
        number = np.repeat(np.arange(count, dtype=np.uint64), lengths[texts])
        sides.append(number << np.uint64(32) | hashes[_ranges(begins[texts], lengths[texts])])
    keys, times = np.unique(np.concatenate(sides), return_counts=True)
    number = (keys >> np.uint64(32)).astype(np.int64)
    first = np.searchsorted(number, np.arange(count))
    # Of long texts only the smallest shingles of both together are a fair sample of both.
    long = (lengths[pairs] == SKETCH).any(axis=1)
    counted = (np.arange(len(keys)) - first[number] < SKETCH) | ~long[number]
    union = np.bincount(number[counted], minlength=count)
    common = np.bincount(number[counted & (times == 2)], minlength=count)
    return np.asarray(common / np.maximum(union, 1), np.float64)


def join_groups(pairs: Rows, count: int) -> Rows:
    """Return the group of each of `count` documents, named after its first; union-find over the pairs."""
    parent: Rows = np.arange(count)

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for one, other in pairs.tolist():
        low, high = sorted((find(one), find(other)))
        parent[high] = low
    while (parent[parent] != parent).any():
        parent = parent[parent]
    return np.asarray(parent, np.int64)


def _ranges(starts: Rows, counts: Rows) -> Rows:
    """Return the numbers start, start + 1 ... of every range, one after another."""
    before = np.cumsum(counts) - counts
    return np.asarray(np.arange(int(counts.sum())) + np.repeat(starts - before, counts), np.int64)


def _mix(values: Hashes) -> Hashes:
    """Spread 64 bits evenly (the finaliser of splitmix64)."""
    values = (values + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), np.uint64)
