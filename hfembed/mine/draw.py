"""Draw: documents at random, and what becomes of queries with too few negatives."""

from __future__ import annotations

import numpy as np

from hfembed.mine.asked import Asked
from hfembed.mine.chosen import Chosen
from hfembed.mine.rules import Mask, Miner
from hfembed.mine.space import Space
from hfembed.mine.usage import Usage
from hfembed.ranking import NOBODY, Rows, Vectors, exact_scores
from hfembed.recipe import ShortRows

DRAWS = 64
CHUNK = 256


def draw_rows(seed: int, query: int, documents: int, count: int = DRAWS) -> Rows:
    """Return different documents at random, the same ones for a seed and query at all times."""
    draw = np.random.default_rng([seed, query])
    if documents <= count:
        return draw.permutation(documents)
    drawn = draw.integers(0, documents, size=count)
    return drawn[np.sort(np.unique(drawn, return_index=True)[1])]


def drawn_scores(block: Rows, vectors: Space, asked: Asked, seed: int) -> tuple[Rows, Vectors]:
    """Return documents drawn for each query of a block, and their scores; -1 where one may not be a negative."""
    total = len(vectors.documents)
    rows = np.full((len(block), min(DRAWS, total)), NOBODY, dtype=np.int64)
    for at, query in enumerate(block.tolist()):
        drawn = draw_rows(seed, query, total)
        drawn = drawn[~np.isin(drawn, asked.excluded_of(query))]
        rows[at, : len(drawn)] = drawn
    return rows, exact_scores(np.asarray(vectors.queries[block]), vectors.documents, rows)


def fill_short(
    chosen: Chosen,
    asked: Asked,
    vectors: Space,
    highest: Vectors,
    policy: ShortRows,
    seed: int,
    usage: Usage | None,
) -> Mask:
    """Deal with the queries that have a free place; return which of them lose their rows.

    usage: how often documents serve, where that is limited.
    """
    short = np.flatnonzero(chosen.short())
    chosen.tally["short"] += len(short)
    if policy is ShortRows.RANDOM:
        for start in range(0, len(short), CHUNK):
            block = short[start : start + CHUNK]
            rows, scores = drawn_scores(block, vectors, asked, seed)
            for at, query in enumerate(block.tolist()):
                _fill(chosen, query, rows[at], scores[at], highest[query], usage)
    if policy is not ShortRows.DROP:
        for query in short.tolist():
            _repeat(chosen, query)
    return chosen.short()


def _fill(chosen: Chosen, query: int, rows: Rows, scores: Vectors, highest: np.float32, usage: Usage | None) -> None:
    free = int((chosen.rows[query] == NOBODY).sum())
    other = (rows != NOBODY) & ~np.isin(rows, chosen.rows[query])
    rested = ~usage.full(rows) if usage else True
    usable = np.flatnonzero(other & (scores <= highest) & rested)[:free]
    if free == chosen.rows.shape[1] and not len(usable):
        # Nothing is under the cap: the least similar documents are the least likely to be answers.
        spent = other & usage.full(rows) if usage else np.zeros_like(other)
        alike = np.lexsort((np.where(other, scores, np.inf), spent))
        usable = alike[np.isin(alike, np.flatnonzero(other))][:free]
        chosen.tally["filled_above_cap"] += len(usable)
    chosen.put(query, rows[usable].tolist(), scores[usable].tolist(), Miner.RANDOM)
    if usage:
        usage.add(rows[usable].tolist())


def _repeat(chosen: Chosen, query: int) -> None:
    there = np.flatnonzero(chosen.rows[query] != NOBODY)
    free = chosen.rows.shape[1] - len(there)
    if not len(there) or not free:
        return
    again = np.resize(there, free)
    chosen.tally["repeated"] += free
    chosen.put(
        query, chosen.rows[query, again].tolist(), chosen.scores[query, again].tolist(), chosen.miners[query, again]
    )
