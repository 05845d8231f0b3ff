"""Batches: which rows are drawn how often, and which of them may stand beside one another.

Every document of a batch is a negative for the other rows' queries, so a batch holds no two rows where one's
documents answer the other's query. A plan is made before training starts: the same seed gives the same one,
and a run that was killed goes on in the middle of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, islice

import numpy as np
import numpy.typing as npt

# Batches are cut from this many at a time, sorted by length: little padding, still well mixed.
BUCKET_BATCHES = 20
Keys = frozenset[Hashable]


@dataclass(frozen=True)
class Drawing:
    """What decides which rows are drawn, and with which others.

    weights: how often each row is drawn, against the others. lengths: what rows of a batch should have alike.
    right: all that answers a row's query, and the query itself. wrong: its negatives.
    """

    weights: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]
    right: Sequence[Keys]
    wrong: Sequence[Keys]


def plan_batches(
    rows: Drawing, size: int, seed: int, *, epochs: int = 1, steps: int | None = None, per_step: int = 1
) -> list[list[int]]:
    """Return the batches of whole epochs, or of exactly `steps` steps of `per_step` batches each.

    Whole epochs are completed to whole steps with the first batches of the next one.
    """
    passes = (_epoch(rows, size, seed, number) for number in count())
    if steps is not None:
        return list(islice(chain.from_iterable(passes), steps * per_step))
    batches = list(chain.from_iterable(islice(passes, epochs)))
    return batches + list(islice(chain.from_iterable(passes), -len(batches) % per_step))


def draw_rows(weights: npt.NDArray[np.float64], draw: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw as many rows as there are: each as often as its share says, rounded up or down.

    Rows of equal weight are all drawn once; what is rounded down in one epoch is rounded up in another.
    """
    edges = np.round(np.cumsum(weights) * (len(weights) / weights.sum()), 9)
    edges[-1] = len(weights)
    places = np.floor(np.concatenate([[0.0], edges]) + draw.random())
    return np.repeat(np.arange(len(weights)), np.diff(places).astype(np.int64))


def _epoch(rows: Drawing, size: int, seed: int, number: int) -> Iterator[list[int]]:
    draw = np.random.default_rng([seed, number])
    drawn = draw.permutation(draw_rows(rows.weights, draw))
    batches: list[list[int]] = []
    for start in range(0, len(drawn), size * BUCKET_BATCHES):
        bucket = drawn[start : start + size * BUCKET_BATCHES]
        bucket = bucket[np.argsort(rows.lengths[bucket], kind="stable")]
        batches += _fill(bucket.tolist(), rows, size)
    for place in draw.permutation(len(batches)):
        yield batches[place]


@dataclass
class _Batch:
    rows: list[int] = field(default_factory=list)
    right: set[Hashable] = field(default_factory=set)
    wrong: set[Hashable] = field(default_factory=set)

    def takes(self, right: Keys, wrong: Keys) -> bool:
        return right.isdisjoint(self.right) and right.isdisjoint(self.wrong) and wrong.isdisjoint(self.right)


def _fill(bucket: list[int], rows: Drawing, size: int) -> list[list[int]]:
    """Put each row into the first batch that has room and nothing against it; batches may stay short."""
    batches: list[_Batch] = []
    unfilled: list[_Batch] = []
    for row in bucket:
        right, wrong = rows.right[row], rows.wrong[row]
        batch = next((batch for batch in unfilled if batch.takes(right, wrong)), None)
        if batch is None:
            batch = _Batch()
            batches.append(batch)
            unfilled.append(batch)
        batch.rows.append(row)
        batch.right |= right
        batch.wrong |= wrong
        if len(batch.rows) == size:
            unfilled.remove(batch)
    return [batch.rows for batch in batches]
