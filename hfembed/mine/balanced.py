"""Balanced: as many far negatives as near ones, and no document used much more often than the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.mine.asked import Asked
from hfembed.mine.chosen import Chosen
from hfembed.mine.draw import drawn_scores
from hfembed.mine.rules import Mask, Miner, Rules, code
from hfembed.mine.space import Candidates, Space
from hfembed.mine.usage import Usage
from hfembed.ranking import NOBODY, Rows, Vectors

# A query whose positive leads by more is served well enough already; it learns more from far documents.
WIDE = 0.2
NEAR_SHARES = (0.4, 0.6)
# Far documents come from between these quantiles of the query's scores.
FAR = (0.5, 0.8)
CHUNK = 256


@dataclass(frozen=True)
class Far:
    """Documents drawn for a query and their scores."""

    rows: Rows
    scores: Vectors

    def without(self, rows: Rows) -> Far:
        """Return the documents that are not among `rows`."""
        others = ~np.isin(self.rows, rows)
        return Far(self.rows[others], self.scores[others])


def choose_balanced(
    chosen: Chosen, asked: Asked, rules: Rules, vectors: Space, seed: int
) -> tuple[Usage, dict[str, Any]]:
    """Fill the free places near and far, the queries that the model serves worst first."""
    candidates, bounds = rules.candidates, rules.bounds
    negatives = chosen.rows.shape[1]
    usage = Usage(len(vectors.documents), chosen.rows.size)
    usage.add(chosen.rows[chosen.rows >= 0].tolist())
    gaps = bounds.lowest - candidates["score"][:, 0] if candidates.shape[1] else np.full(len(asked), np.inf)
    gaps = np.asarray(gaps / vectors.scale(), dtype=np.float32)  # what is wide is said in cosines
    wanted = near_wanted(gaps, negatives)
    fewest, most = negatives // 4, negatives - negatives // 4
    taken, owed, hit = np.zeros(2, dtype=np.int64), 0, 0
    order = np.argsort(gaps, kind="stable")
    for start in range(0, len(order), CHUNK):
        block = order[start : start + CHUNK]
        rows, scores = drawn_scores(block, vectors, asked, seed)
        found, may = candidates[block], rules.usable(block)
        for at, query in enumerate(block.tolist()):
            near = _near(found[at], may[at], chosen.rows[query])
            far = _far(rows[at], scores[at], bounds.highest[query], chosen.rows[query])
            hit += bool(usage.full(near["row"]).any())
            # What earlier queries could not have of one kind, this one takes more of.
            got = _assign(chosen, usage, query, near, far, int(np.clip(wanted[query] + owed, fewest, most)))
            taken, owed = taken + got, owed + int(wanted[query] - got[0])
    near_share = taken[0] / max(1, taken.sum())
    return usage, {
        "near_share": round(float(near_share), 4),
        **usage.describe(),
        "share_that_hit_the_cap": round(hit / max(1, len(order)), 4),
    }


def near_wanted(gaps: Vectors, negatives: int) -> Rows:
    """Return how many near negatives each query is to have, so that the whole stays balanced.

    Most for a query whose positive does not come first, fewest for one whose positive leads by far; of the
    kind that outweighs, those closest to the middle are treated like the middle.
    """
    most, middle, fewest = negatives - negatives // 4, (negatives + 1) // 2, negatives // 4
    wanted = np.where(gaps < 0, most, np.where(gaps > WIDE, fewest, middle))
    low, high = (int(share * wanted.size * negatives) for share in NEAR_SHARES)
    for kind, order, excess in (
        (most, np.argsort(-gaps, kind="stable"), wanted.sum() - high),
        (fewest, np.argsort(gaps, kind="stable"), low + 1 - wanted.sum()),
    ):
        if excess > 0 and kind != middle:
            of_kind = order[wanted[order] == kind]
            wanted[of_kind[: -(-int(excess) // abs(kind - middle))]] = middle
    return wanted.astype(np.int64)


def _near(found: Candidates, usable: Mask, taken: Rows) -> Candidates:
    near = found[usable]
    return near[~np.isin(near["row"], taken)]


def _far(rows: Rows, scores: Vectors, highest: np.float32, taken: Rows) -> Far:
    there = rows != NOBODY
    if not there.any():
        return Far(rows[:0], scores[:0])
    may = there & (scores <= highest) & ~np.isin(rows, taken)
    band = may & _within(scores, scores[there])
    if may.any() and not band.any():
        # Most of the corpus scores above the cap: what is far is told among the others.
        band = may & _within(scores, scores[may])
    return Far(rows[band], scores[band])


def _within(scores: Vectors, among: Vectors) -> Mask:
    low, high = np.quantile(among, FAR)
    between: Mask = (scores >= low) & (scores <= high)
    return between


def _assign(
    chosen: Chosen, usage: Usage, query: int, near: Candidates, far: Far, near_wanted: int
) -> npt.NDArray[np.int64]:
    """Give one query its negatives; where one kind runs out the other takes its places."""
    free = int((chosen.rows[query] == NOBODY).sum())
    near = near[~usage.full(near["row"])]
    nearest = near["row"][: min(near_wanted, free)]
    far = far.without(nearest)
    rested = np.argsort(usage.counts[far.rows], kind="stable")
    rested = rested[~usage.full(far.rows[rested])]
    by_far = min(len(rested), free - len(nearest))
    picked = rested[:by_far]
    near = near[~np.isin(near["row"], far.rows[picked])]
    by_near = min(len(near), free - by_far)
    miners = np.where(near["dense"] >= 0, code(Miner.DENSE), code(Miner.BM25)).astype(np.uint8)
    chosen.put(query, near["row"][:by_near].tolist(), near["score"][:by_near].tolist(), miners[:by_near])
    picked = picked[np.argsort(-far.scores[picked], kind="stable")]
    chosen.put(query, far.rows[picked].tolist(), far.scores[picked].tolist(), Miner.RANDOM)
    usage.add([*near["row"][:by_near].tolist(), *far.rows[picked].tolist()])
    return np.array([by_near, by_far])
