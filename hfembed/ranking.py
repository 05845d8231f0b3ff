"""Ranking documents by vectors, in blocks so that memory stays bounded, and scoring the ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

QUERY_BLOCK = 1_024
DOCUMENT_BLOCK = 16_384


def top_documents(queries: Vectors, documents: Vectors, count: int, block: int = DOCUMENT_BLOCK) -> Rows:
    """Return the rows of the nearest documents of every query, nearest first."""
    return top_scored(queries, documents, count, block)[0]


def top_scored(queries: Vectors, documents: Vectors, count: int, block: int = DOCUMENT_BLOCK) -> tuple[Rows, Vectors]:
    """Return rows and scores of the nearest documents; ties go to the earlier document."""
    count = min(count, len(documents))
    rows = np.empty((len(queries), count), dtype=np.int64)
    scores = np.empty((len(queries), count), dtype=np.float32)
    for start in range(0, len(queries), QUERY_BLOCK):
        part = slice(start, start + QUERY_BLOCK)
        rows[part], scores[part] = _top_of_block(np.asarray(queries[part]), documents, count, block)
    return rows, scores


def _top_of_block(queries: Vectors, documents: Vectors, count: int, block: int) -> tuple[Rows, Vectors]:
    best_rows = np.empty((len(queries), 0), dtype=np.int64)
    best_scores = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(documents), block):
        scores = queries @ np.asarray(documents[start : start + block]).T
        rows = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
        best_scores = np.concatenate([best_scores, scores], axis=1)
        best_rows = np.concatenate([best_rows, rows], axis=1)
        if best_scores.shape[1] > count:
            keep = _largest(best_scores, count)
            best_scores = np.take_along_axis(best_scores, keep, axis=1)
            best_rows = np.take_along_axis(best_rows, keep, axis=1)
    order = np.lexsort((best_rows, -best_scores), axis=1)
    return np.take_along_axis(best_rows, order, axis=1), np.take_along_axis(best_scores, order, axis=1)


def _largest(scores: Vectors, count: int) -> Rows:
    """Return the places of the largest scores of each row; of equal ones at the edge, the first."""
    keep = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    edge = np.take_along_axis(scores, keep, axis=1).min(axis=1, keepdims=True)
    kept = (np.take_along_axis(scores, keep, axis=1) == edge).sum(axis=1)
    tied = np.flatnonzero((scores == edge).sum(axis=1) > kept)
    if len(tied):  # rare, and only then is a full stable sort worth its time
        keep[tied] = np.argsort(-scores[tied], axis=1, kind="stable")[:, :count]
    return keep


def ndcg_scores(ranked: Rows, relevant: Rows, depth: int = 10) -> npt.NDArray[np.float64]:
    """Return nDCG of every query that has one relevant document."""
    hits = ranked[:, :depth] == relevant[:, None]
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    scores: npt.NDArray[np.float64] = (hits * discounts).sum(axis=1)
    return scores


def mean_ndcg(ranked: Rows, relevant: Rows, depth: int = 10) -> float:
    """Return the mean nDCG of queries that have one relevant document each."""
    return float(ndcg_scores(ranked, relevant, depth).mean())
