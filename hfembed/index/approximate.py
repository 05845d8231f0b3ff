"""Approximate: search that looks into some parts of the vectors only, as many as reach the recall that is wanted."""

from __future__ import annotations

import math

import numpy as np

from hfembed.embed import Vectors
from hfembed.errors import StageError
from hfembed.events import Reporter
from hfembed.index.manifest import Approximate
from hfembed.index.store import VECTOR, Store

# What is measured is how many of so many nearest documents are found.
NEAREST = 10
WANTED_RECALL = 0.95
# Parts are searched by vectors of one byte per dimension; so many times more are compared exactly than asked for.
REFINE = 4
# Scores of two computations of one product differ by rounding.
ROUNDING = 1e-5
# The parts are made anew once so many times as many documents are in them.
OUTGROWN = 2.0


def make_approximate(store: Store, queries: Vectors, before: Approximate | None, report: Reporter) -> Approximate:
    """Divide the vectors into parts, and choose how many of them a search looks into.

    before: the parts that are there; they are kept until the corpus has outgrown them.
    """
    rows = len(store)
    keeps = before is not None and before.rows * OUTGROWN >= rows and store.has_parts
    partitions = before.partitions if before and keeps else max(1, round(math.sqrt(rows)))
    if not keeps:
        task = report.task(f"dividing the vectors into {partitions:,} parts")
        store.index_vectors(partitions)
        store.settle()  # it may join and divide parts: what is measured is what will be searched
        task.finish()
    least = exact_least(store, queries, report)
    trained = before.rows if before and keeps else rows
    chosen = Approximate(partitions=partitions, probes=1, refine=REFINE, rows=trained, recall=0.0, queries=len(queries))
    probes = 1
    while True:
        tried = chosen.model_copy(update={"probes": min(probes, partitions)})
        tried = tried.model_copy(update={"recall": measure_recall(store, queries, least, tried)})
        chosen = max(chosen, tried, key=lambda one: one.recall)
        if chosen.recall >= WANTED_RECALL or probes >= partitions:
            return chosen
        probes *= 2


def exact_least(store: Store, queries: Vectors, report: Reporter | None = None) -> Vectors:
    """Return the score of each query's tenth nearest document, from comparing with all of them."""
    best = np.full((len(queries), NEAREST), -np.inf, dtype=np.float32)
    task = report.task("comparing a sample with all vectors", len(store), "documents") if report else None
    for batch in store.batches(VECTOR):
        vectors = np.asarray(batch[VECTOR].flatten()).reshape(len(batch), -1)
        scores = np.concatenate([best, queries @ vectors.T], axis=1)
        best = np.partition(scores, scores.shape[1] - NEAREST, axis=1)[:, -NEAREST:]
        if task:
            task.advance(len(batch))
    if task:
        task.finish()
    least: Vectors = best.min(axis=1)
    return least


def measure_recall(store: Store, queries: Vectors, least: Vectors, how: Approximate | None) -> float:
    """Return which share of the ten nearest documents a search finds; of equally near ones any will do."""
    if not len(queries):
        raise StageError("There is no query to measure the recall of the index with.")
    wanted = min(NEAREST, len(store))
    found = 0
    for query, edge in zip(queries, least, strict=True):
        scores = store.nearest(query, NEAREST, how).values()
        found += sum(score >= edge - ROUNDING * max(1.0, abs(float(edge))) for score in scores)
    return round(float(found) / (wanted * len(queries)), 4)
