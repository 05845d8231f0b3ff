"""Ranking documents by vectors, in blocks so that memory stays bounded, and scoring the ranks."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
K = TypeVar("K", int, str)

QUERY_BLOCK = 1_024
DOCUMENT_BLOCK = 8_192
# How many more documents are kept than asked for, so that rounding in the search cannot lose one of them.
SPARE = 16
# Queries whose documents are scored exactly at a time: few, so that the vectors stay in the processor's cache.
EXACT_BLOCK = 8
# A document and its score share a 64-bit number with its query while the best are picked out.
PLACE_BITS, SCORE_BITS = 22, 32
NOBODY = -1


class Pairs(NamedTuple):
    """Queries and documents by row, one pair at each place."""

    queries: Rows
    documents: Rows


def top_documents(queries: Vectors, documents: Vectors, count: int, block: int = DOCUMENT_BLOCK) -> Rows:
    """Return the rows of the nearest documents of every query, nearest first."""
    return top_scored(queries, documents, count, block)[0]


def top_scored(queries: Vectors, documents: Vectors, count: int, block: int = DOCUMENT_BLOCK) -> tuple[Rows, Vectors]:
    """Return rows and scores of the nearest documents; ties go to the earlier document."""
    return Ranker(documents, block).top(queries, count)


class Ranker:
    """Finds the nearest of many documents, which may be a memory map, a block of them at a time."""

    def __init__(self, documents: Vectors, block: int = DOCUMENT_BLOCK, device: str | None = None) -> None:
        """Rank `documents`, `block` at a time, on the GPU where a stage has loaded torch and there is one."""
        self._documents, self.block = documents, block
        device = device or _gpu()
        self._scorer = _Torch(device) if device else _Numpy()

    def top(self, queries: Vectors, count: int, excluded: Pairs | None = None) -> tuple[Rows, Vectors]:
        """Return rows and scores of the nearest documents; ties go to the earlier document.

        Where nothing is left to find the row is -1 and the score -inf. The answer depends neither on the
        blocks nor on the device: scores are computed once more, exactly, for what the search found.
        """
        count = min(count, len(self._documents))
        rows = np.empty((len(queries), count), dtype=np.int64)
        scores = np.empty((len(queries), count), dtype=np.float32)
        for start in range(0, len(queries), QUERY_BLOCK):
            part = slice(start, start + QUERY_BLOCK)
            block = np.ascontiguousarray(queries[part])
            found = self._search(block, min(count + SPARE, len(self._documents)), _within(excluded, part))
            rows[part], scores[part] = self._settle(block, found, count)
        return rows, scores

    def _search(self, queries: Vectors, count: int, excluded: Pairs | None) -> Rows:
        best = _Best(len(queries), count)
        self._scorer.ask(queries)
        for start in range(0, len(self._documents), self.block):
            stop = min(start + self.block, len(self._documents))
            left_out = _between(excluded, start, stop)
            at, places, scores = self._scorer.above(self._documents[start:stop], best.least, count, left_out)
            best.add(at, places + start, scores)
        return best.merge()

    def _settle(self, queries: Vectors, rows: Rows, count: int) -> tuple[Rows, Vectors]:
        scores = exact_scores(queries, self._documents, rows)
        order = np.lexsort((rows, -scores), axis=1)[:, :count]
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def exact_scores(queries: Vectors, documents: Vectors, rows: Rows) -> Vectors:
    """Return the products of each query with documents of its own; -inf where the row is -1.

    Summed in double precision, so that a pair has one score wherever and beside whatever it is computed.
    """
    scores = np.empty(rows.shape, dtype=np.float32)
    for start in range(0, len(rows), EXACT_BLOCK):
        part = slice(start, start + EXACT_BLOCK)
        chosen = documents[rows[part].ravel()].astype(np.float64).reshape(*rows[part].shape, documents.shape[1])
        scores[part] = np.matmul(chosen, queries[part, :, None].astype(np.float64))[..., 0]
    scores[rows == NOBODY] = -np.inf
    return scores


def pair_scores(queries: Vectors, documents: Vectors, pairs: Pairs) -> Vectors:
    """Return the exact product of every pair, a block of them in memory at a time."""
    scores = np.empty(len(pairs.queries), dtype=np.float32)
    for start in range(0, len(scores), QUERY_BLOCK):
        part = slice(start, start + QUERY_BLOCK)
        chosen = np.asarray(queries[pairs.queries[part]])
        scores[part] = exact_scores(chosen, documents, pairs.documents[part, None])[:, 0]
    return scores


def fuse(rankings: Sequence[Mapping[K, float]], weights: Sequence[float] | None = None) -> dict[K, float]:
    """Add up each document's scores, standardised over all that any ranking found, each ranking times its weight.

    A document that a ranking left out counts there as the worst it found: it is no better than that.
    """
    union = sorted({identity for scores in rankings for identity in scores})
    total = np.zeros(len(union))
    for scores, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        if not scores:
            continue
        worst = min(scores.values())
        values = np.array([scores.get(identity, worst) for identity in union], dtype=np.float64)
        # Where all are alike the ranking has nothing to say.
        total += weight * (values - values.mean()) / (values.std() or 1.0)
    return dict(zip(union, total.tolist(), strict=True))


class _Numpy:
    """Scores blocks of documents on the CPU."""

    def __init__(self) -> None:
        # Kept from block to block: fresh memory of this size costs as much time as a sixth of the product.
        self._scores, self._good = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.bool_)

    def ask(self, queries: Vectors) -> None:
        """Score for these queries from now on."""
        self._queries = queries

    def above(
        self, documents: Vectors, least: Vectors, count: int, excluded: Pairs | None
    ) -> tuple[Rows, Rows, Vectors]:
        """Return query, place and score of all documents above each query's least, or of the best of them."""
        shape = (len(self._queries), len(documents))
        if self._scores.size < shape[0] * shape[1]:
            self._scores = np.empty(shape[0] * shape[1], dtype=np.float32)
            self._good = np.empty(self._scores.size, dtype=np.bool_)
        scores = self._scores[: shape[0] * shape[1]].reshape(shape)
        good = self._good[: scores.size].reshape(shape)
        np.matmul(self._queries, np.asarray(documents).T, out=scores)
        if excluded is not None:
            scores[excluded.queries, excluded.documents] = -np.inf
        np.greater(scores, least[:, None], out=good)
        if np.count_nonzero(good) > 2 * count * len(scores):
            good &= scores >= self._bound(scores, count)[:, None]
        found = np.flatnonzero(good)
        at, places = np.divmod(found, scores.shape[1])
        return at, places, scores.ravel()[found]

    @staticmethod
    def _bound(scores: Vectors, count: int) -> Vectors:
        """Return a score that at least `count` documents of each query reach: cheap, and nearly the best such."""
        height = max(1, min(32, scores.shape[1] // (3 * count)))
        strips = scores.shape[1] // height
        if strips < count:
            return np.full(len(scores), -np.inf, dtype=np.float32)
        tops = scores[:, : height * strips].reshape(len(scores), height, strips).max(axis=1)
        bound: Vectors = np.partition(tops, strips - count, axis=1)[:, strips - count]
        return bound


class _Torch:
    """Scores blocks of documents on a device of torch."""

    def __init__(self, device: str) -> None:
        import torch

        self._torch, self._device = torch, device

    def ask(self, queries: Vectors) -> None:
        """Score for these queries from now on."""
        self._queries = self._put(queries)

    def above(
        self, documents: Vectors, least: Vectors, count: int, excluded: Pairs | None
    ) -> tuple[Rows, Rows, Vectors]:
        """Return query, place and score of all documents above each query's least, or of the best of them."""
        torch = self._torch
        scores = self._queries @ self._put(documents).T
        if excluded is not None:
            scores[self._put(excluded.queries), self._put(excluded.documents)] = -torch.inf
        good = scores > self._put(least)[:, None]
        if int(good.sum()) > 2 * count * len(scores):
            edge = torch.topk(scores, min(count, scores.shape[1]), dim=1).values[:, -1:]
            good &= scores >= edge
        at, places = torch.nonzero(good, as_tuple=True)
        return at.cpu().numpy(), places.cpu().numpy(), scores[at, places].cpu().numpy()

    def _put(self, values: npt.NDArray[Any]) -> torch.Tensor:
        # A copy, because torch warns of arrays that it may not write to, as a memory map's are.
        return self._torch.tensor(np.asarray(values), device=self._device)


class _Best:
    """The best documents so far of a block of queries. Newcomers wait until merging them pays."""

    def __init__(self, queries: int, count: int) -> None:
        self._shape = (queries, count)
        self._at, self._rows, self._scores = _nothing(), _nothing(), np.empty(0, dtype=np.float32)
        self._new: list[tuple[Rows, Rows, Vectors]] = []
        self._waiting = 0
        # What a document must exceed to be among the best; it may lag behind, which costs time but no document.
        self.least: Vectors = np.full(queries, -np.inf, dtype=np.float32)

    def add(self, at: Rows, rows: Rows, scores: Vectors) -> None:
        """Take documents in: the number of the query, row and score. Rows only ever rise from call to call."""
        self._new.append((at, rows, scores))
        self._waiting += len(at)
        if self._waiting > self._shape[0] * self._shape[1]:
            self.merge()

    def merge(self) -> Rows:
        """Keep the best only; return their rows, filled up with -1."""
        queries, count = self._shape
        parts = [(self._at, self._rows, self._scores), *self._new]
        at, rows, scores = (np.concatenate([part[field] for part in parts]) for field in range(3))
        order = _order(at, scores)
        starts = np.searchsorted(at[order], np.arange(queries))
        rank = np.arange(len(order)) - starts[at[order]]
        order, rank = order[rank < count], rank[rank < count]
        self._at, self._rows, self._scores = at[order], rows[order], scores[order]
        self._new, self._waiting = [], 0
        table = np.full(self._shape, NOBODY, dtype=np.int64)
        table[self._at, rank] = self._rows
        full = rank == count - 1
        self.least[self._at[full]] = self._scores[full]
        return table


def _order(at: Rows, scores: Vectors) -> Rows:
    """Return the order by query, best score first, and of equals the one that came first.

    Sorting plain numbers is many times faster than sorting by three keys, so the three are packed into one.
    """
    if len(at) >> PLACE_BITS or int(at.max(initial=0)) >> (64 - SCORE_BITS - PLACE_BITS):
        return np.lexsort((-scores, at))  # does not fit
    bits = (scores + np.float32(0)).view(np.uint32).astype(np.uint64)  # + 0 makes -0 and 0 one number
    # The bits of positive numbers rise with them and those of negative ones fall; these fall throughout.
    falling = np.where(bits >> 31, bits, np.uint64(0x7FFFFFFF) - bits)
    packed = (at.astype(np.uint64) << (SCORE_BITS + PLACE_BITS)) | (falling << PLACE_BITS)
    packed |= np.arange(len(at), dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64((1 << PLACE_BITS) - 1)).astype(np.int64)


def _within(pairs: Pairs | None, part: slice) -> Pairs | None:
    if pairs is None:
        return None
    inside = (pairs.queries >= part.start) & (pairs.queries < part.stop)
    return Pairs(pairs.queries[inside] - part.start, pairs.documents[inside])


def _between(pairs: Pairs | None, start: int, stop: int) -> Pairs | None:
    if pairs is None:
        return None
    inside = (pairs.documents >= start) & (pairs.documents < stop)
    return Pairs(pairs.queries[inside], pairs.documents[inside] - start) if inside.any() else None


def _gpu() -> str | None:
    torch = sys.modules.get("torch")  # not loaded for this alone: that takes longer than most searches
    return "cuda" if torch is not None and torch.cuda.is_available() else None


def _nothing() -> Rows:
    return np.empty(0, dtype=np.int64)


def ndcg_scores(ranked: Rows, relevant: Rows, depth: int = 10) -> npt.NDArray[np.float64]:
    """Return nDCG of every query that has one relevant document."""
    hits = ranked[:, :depth] == relevant[:, None]
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    scores: npt.NDArray[np.float64] = (hits * discounts).sum(axis=1)
    return scores


def mean_ndcg(ranked: Rows, relevant: Rows, depth: int = 10) -> float:
    """Return the mean nDCG of queries that have one relevant document each."""
    return float(ndcg_scores(ranked, relevant, depth).mean())
