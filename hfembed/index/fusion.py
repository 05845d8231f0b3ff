"""Fusion: how much vectors, or heads, and how much words count, chosen on queries of dev whose answers are known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hfembed.heads import FUSED
from hfembed.index.manifest import Fusion
from hfembed.index.store import Scores, best_first
from hfembed.labelled import PEOPLE
from hfembed.ranking import NOBODY, Rows, fuse, ndcg_scores
from hfembed.recipe import Head
from hfembed.run import LAYOUT

# Where nobody knows better both count alike, as in a comparison.
DEFAULT = Fusion(dense=0.5)
DEFAULT_OF_HEADS = Fusion(dense=0.5, fused=0.5, joined=FUSED)
GRID = tuple(step / 10 for step in range(11))
# Queries that were made from the documents share their words, more than people's do: they overrate words, and what they
# say counts only as far as words get no more than half.
LEAST_BY_MADE = 0.5
MAX_QUERIES = 200
# Fewer than these say nothing.
MIN_QUERIES = 20
FOLDS = 2
# How many documents of each part are joined with those of the other: as deep as `evaluate` looks.
PART_DEPTH = 100
# nDCG of so many.
DEPTH = 10


@dataclass(frozen=True)
class Asked:
    """A query with what vectors and words find for it, and the number of the document that answers it.

    fused: what all heads of the model find; nothing where the index holds none.
    """

    dense: Scores
    words: Scores
    answer: int
    fused: Scores | None = None


@dataclass(frozen=True)
class DevQueries:
    """Queries with the ids that answer them. by_people: people asked them; they were not made from the documents."""

    rows: list[tuple[str, str]]
    by_people: bool = False


def read_dev(run: Path, seed: int = 0) -> DevQueries:
    """Return queries of a run's dev, at most so many; people's alone where there are enough; none where it is no run."""
    file = run / LAYOUT.dev
    if not file.is_file():
        return DevQueries([])
    table = pq.read_table(file, columns=["query", "positive_id", "writer"]).to_pylist()
    asked = {(row["query"], row["positive_id"]) for row in table if row["writer"] == PEOPLE}
    by_people = len(asked) >= MIN_QUERIES
    rows = sorted(asked if by_people else {(row["query"], row["positive_id"]) for row in table})
    return DevQueries(random.Random(seed).sample(rows, MAX_QUERIES) if len(rows) > MAX_QUERIES else rows, by_people)


def join(dense: Scores, words: Scores, share: float, depth: int = PART_DEPTH) -> dict[int, float]:
    """Return the scores of vectors and words together. depth: how many documents of each were asked for.

    Where words found fewer, all others share none with the query: they score nothing, and not as the worst found. A
    word that one document alone has would have no say otherwise.
    """
    whole = words if len(words) >= depth else {**dict.fromkeys(dense, 0.0), **words}
    return fuse([dense, whole], [share, 1 - share])


def choose_fusion(asked: Sequence[Asked], *, by_heads: bool = False, by_people: bool = False) -> Fusion:
    """Return the share of vectors that finds the answers best; of equals the largest.

    by_people: people asked; otherwise words get no more than half. by_heads: try the same with what all heads find in
    the place of vectors, and prefer it where it is as good. The gain is measured on halves of the queries, each with
    what the other half chose.
    """
    if len(asked) < MIN_QUERIES:
        return DEFAULT_OF_HEADS if by_heads else DEFAULT
    answers = np.array([one.answer for one in asked], dtype=np.int64)
    ways = [(joined, share) for joined in (str(Head.DENSE), *([FUSED] if by_heads else ())) for share in GRID]
    scores = np.array([ndcg_scores(_ranked(asked, *way), answers, DEPTH) for way in ways])
    dense = scores[len(GRID) - 1]
    allowed = np.array([by_people or share >= LEAST_BY_MADE for _, share in ways])
    halves = np.arange(len(asked)) % FOLDS
    gains = [
        scores[_best(scores[:, halves != half], allowed)][halves == half] - dense[halves == half]
        for half in range(FOLDS)
    ]
    chosen = _best(scores, allowed)
    return Fusion(
        dense=GRID[_best(scores[: len(GRID)], allowed[: len(GRID)])],
        fused=GRID[_best(scores[len(GRID) :], allowed[len(GRID) :])] if by_heads else None,
        joined=ways[chosen][0],
        queries=len(asked),
        by_people=by_people,
        ndcg_dense=_rounded(dense),
        ndcg_bm25=_rounded(scores[0]),
        ndcg_fused=_rounded(scores[-1]) if by_heads else None,
        ndcg_hybrid=_rounded(scores[chosen]),
        gain=_rounded(np.concatenate(gains)),
    )


def _ranked(asked: Sequence[Asked], joined: str, share: float) -> Rows:
    """Return the numbers of the best documents for each query, filled up with nobody's."""
    best = []
    for one in asked:
        found = one.fused if joined == FUSED and one.fused is not None else one.dense
        best.append(best_first(join(found, one.words, share), DEPTH))
    return np.array([[*found, *[NOBODY] * (DEPTH - len(found))] for found in best], dtype=np.int64)


def _best(scores: npt.NDArray[np.float64], allowed: npt.NDArray[np.bool_]) -> int:
    means = np.where(allowed, scores.mean(axis=1), -np.inf)
    return int(np.flatnonzero(means >= means.max() - 1e-12)[-1])


def _rounded(scores: npt.NDArray[np.float64]) -> float:
    return round(float(scores.mean()), 4)
