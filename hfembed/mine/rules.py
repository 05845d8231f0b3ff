"""Rules: which candidates may be negatives, and what is picked of those that may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.mine.space import Candidates
from hfembed.ranking import Rows, Vectors
from hfembed.recipe import Cap, CapType, Mine, Sampler, SamplerType, Window

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]


class Miner(StrEnum):
    """Who found a negative."""

    DENSE = "dense"
    BM25 = "bm25"
    GIVEN = "given"
    RANDOM = "random"


MINERS = tuple(Miner)


def code(miner: Miner) -> int:
    """Return the number that stands for a miner in an array."""
    return MINERS.index(miner)


@dataclass(frozen=True)
class Bounds:
    """By query: the score of its lowest positive, and the highest that a negative may have."""

    lowest: Vectors
    highest: Vectors


class Rules:
    """Which candidates may become negatives, with a count of what every rule took away."""

    def __init__(
        self,
        candidates: Candidates,
        bounds: Bounds,
        settings: Mine,
        checked: Callable[[Mask, Rows], Mask] | None = None,
    ) -> None:
        """Apply the window, the cap and, where there is one, a cross-encoder's verdict."""
        self.candidates, self.bounds = candidates, bounds
        self.tally: Counter[str] = Counter()
        self._settings, self._checked = settings, checked

    def under_cap(self, queries: Rows) -> Mask:
        """Return which candidates of some queries stand in the window and under the cap; counts nothing."""
        found = self.candidates[queries]
        under: Mask = found["score"] <= self.bounds.highest[queries, None]
        return in_window(found, self._settings.sampler.window) & under

    def usable(self, queries: Rows) -> Mask:
        """Return which candidates of some queries may become negatives; to be asked once of every query."""
        inside = in_window(self.candidates[queries], self._settings.sampler.window)
        under = self.under_cap(queries)
        usable = self._checked(under, queries) if self._checked else under
        self.tally["looked_at"] += int(inside.sum())
        self.tally["above_cap"] += int(inside.sum() - under.sum())
        self.tally["cross_encoder"] += int((under & ~usable).sum())
        return usable

    def cut(self) -> dict[str, Any]:
        """Return how many candidates the cap took away, and their share."""
        looked_at, cut = self.tally["looked_at"], self.tally["above_cap"]
        return {"looked_at": looked_at, "cut": cut, "share": round(cut / max(1, looked_at), 5)}


def cap_scores(positive_scores: Vectors, cap: Cap) -> Vectors:
    """Return the highest score that a negative of each query may have."""
    if cap.type is CapType.NONE:
        return np.full_like(positive_scores, np.inf)
    if cap.type is CapType.ABSOLUTE:
        return positive_scores - np.float32(cap.value)
    return share_of(positive_scores, cap.value)


def share_of(scores: Vectors, share: float) -> Vectors:
    """Return a share of scores, written so that a negative score is lowered too, not raised."""
    return np.asarray(scores - np.float32(1 - share) * np.abs(scores), dtype=np.float32)


def in_window(candidates: Candidates, window: Window) -> Mask:
    """Return which candidates are there and stand at a rank of the window."""
    ranks = np.arange(candidates.shape[1])
    inside = (ranks >= window.first) & (ranks < (window.last or candidates.shape[1]))
    there: Mask = inside[None, :] & (candidates["row"] >= 0) & np.isfinite(candidates["score"])
    return there


def pick(
    candidates: Candidates, usable: Mask, sampler: Sampler, count: int, seed: list[int]
) -> tuple[Rows, Vectors, Codes]:
    """Pick up to `count` usable candidates of every query: rows, scores and miners, best first; -1 where too few."""
    wish = _wishes(candidates, usable, sampler, seed)
    columns = np.argsort(wish, axis=1, kind="stable")[:, :count]
    picked = np.isfinite(np.take_along_axis(wish, columns, axis=1))
    order = np.argsort(np.where(picked, columns, candidates.shape[1]), axis=1, kind="stable")
    columns, picked = np.take_along_axis(columns, order, axis=1), np.take_along_axis(picked, order, axis=1)
    chosen, wished = np.take_along_axis(candidates, columns, axis=1), np.take_along_axis(wish, columns, axis=1)
    by_words = (chosen["dense"] < 0) | (wished < 0)
    return (
        _padded(np.where(picked, chosen["row"], -1).astype(np.int64), count, -1),
        _padded(np.where(picked, chosen["score"], np.nan).astype(np.float32), count, np.nan),
        _padded(np.where(by_words, code(Miner.BM25), code(Miner.DENSE)).astype(np.uint8), count, 0),
    )


def _wishes(candidates: Candidates, usable: Mask, sampler: Sampler, seed: list[int]) -> npt.NDArray[np.float64]:
    """Return how soon each candidate is wanted: the smallest first, infinity never."""
    wish = np.broadcast_to(np.arange(candidates.shape[1], dtype=np.float64), candidates.shape).copy()
    if sampler.type is SamplerType.RANDOM:
        wish = np.random.default_rng(seed).random(candidates.shape)
    if sampler.type is SamplerType.MIXED:
        ranks = np.where(usable & (candidates["bm25"] >= 0), candidates["bm25"].astype(np.float64), np.inf)
        first = np.argsort(ranks, axis=1, kind="stable")[:, : sampler.bm25]
        found = np.isfinite(np.take_along_axis(ranks, first, axis=1))
        before = np.where(found, -1.0 - np.arange(first.shape[1]), np.take_along_axis(wish, first, axis=1))
        np.put_along_axis(wish, first, before, axis=1)
    wish[~usable] = np.inf
    return wish


def _padded(values: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    short = width - values.shape[1]
    return np.pad(values, ((0, 0), (0, short)), constant_values=fill) if short else values
