"""Plane: a corpus under a model as points on a plane, alike texts near one another, with the query among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hfembed.ranking import Rows, Vectors
from hfembed.text import STOPWORDS, words_of

Points = npt.NDArray[np.float64]

# Documents that are shown, and as many more as must be: those that were found.
MOST_POINTS = 1_200
TOPICS, DOCUMENTS_PER_TOPIC = 6, 15
ROUNDS = 25
NAMED_BY = 3
SHORTEST_WORD = 3


@dataclass(frozen=True)
class Plane:
    """Points by row of the corpus, within -1 and 1; the query's own; and how much of all differences they show."""

    rows: Rows
    points: Points
    query: Points
    share: float


@dataclass(frozen=True)
class Topics:
    """Groups of documents that a model puts near one another: the group of each row, and words that tell them apart."""

    of_row: dict[int, int]
    names: tuple[str, ...]


def lay_out(vectors: Vectors, rows: Rows, query: Vectors, like: Plane | None = None) -> Plane:
    """Put documents and a query on the plane along which the documents differ most.

    like: another model's plane of the same rows, which this one is turned to, so that the two can be compared.
    """
    shown = np.asarray(vectors[rows], dtype=np.float64)
    mean = shown.mean(axis=0)
    values, axes = np.linalg.eigh((shown - mean).T @ (shown - mean))
    axes = axes[:, ::-1][:, :2]
    total = float(values.sum())
    points, asked = (shown - mean) @ axes, (query.astype(np.float64) - mean) @ axes
    if like is not None:
        left, _, right = np.linalg.svd(points.T @ like.points)
        points, asked = points @ (left @ right), asked @ (left @ right)
    reach = max(float(np.abs(points).max(initial=0.0)), float(np.abs(asked).max(initial=0.0))) or 1.0
    share = float(values[-2:].sum()) / total if total > 0 else 1.0
    return Plane(rows, points / reach, asked / reach, share)


def find_topics(vectors: Vectors, rows: Rows, texts: Sequence[str]) -> Topics:
    """Group the documents of some rows by what a model makes of them."""
    shown = np.asarray(vectors[rows], dtype=np.float64)
    count = max(1, min(TOPICS, len(rows) // DOCUMENTS_PER_TOPIC))
    groups = _means(shown, count)
    # The largest first, so that a colour means the same from query to query.
    order = [group for group, _ in Counter(groups.tolist()).most_common()]
    place = {group: at for at, group in enumerate(order)}
    of_row = {int(row): place[int(group)] for row, group in zip(rows, groups, strict=True)}
    return Topics(of_row, _names(of_row, texts, len(order)))


def _means(vectors: Points, count: int) -> npt.NDArray[np.int64]:
    """Return the group of each vector, by k-means from starts that lie far apart."""
    draw = np.random.default_rng(0)
    centres = [vectors[int(draw.integers(len(vectors)))]]
    for _ in range(count - 1):
        nearest = np.max(vectors @ np.array(centres).T, axis=1)
        centres.append(vectors[int(np.argmin(nearest))])
    means = np.array(centres)
    for _ in range(ROUNDS):
        groups = np.argmax(vectors @ means.T, axis=1)
        for group in range(count):
            if (groups == group).any():
                mean = vectors[groups == group].mean(axis=0)
                means[group] = mean / (np.linalg.norm(mean) or 1.0)
    found: npt.NDArray[np.int64] = np.argmax(vectors @ means.T, axis=1).astype(np.int64)
    return found


def _names(of_row: dict[int, int], texts: Sequence[str], count: int) -> tuple[str, ...]:
    """Name each group by words that are common in it and rare in the others."""
    sizes, counts = Counter(of_row.values()), [Counter[str]() for _ in range(count)]
    for row, group in of_row.items():
        counts[group].update({word for word in words_of(texts[row]) if _tells(word)})
    everywhere = sum(counts, Counter[str]())
    names = []
    for group, own in enumerate(counts):
        weight = {word: found / sizes[group] * found / everywhere[word] for word, found in own.items() if found > 1}
        best = sorted(weight, key=lambda word: (-weight[word], word))[:NAMED_BY]
        names.append(", ".join(best) or f"group {group + 1}")
    return tuple(names)


def _tells(word: str) -> bool:
    return len(word) >= SHORTEST_WORD and word not in STOPWORDS and not word.isdecimal()
