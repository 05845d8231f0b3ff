"""How far to move away from the base: chosen on kinds of queries that the map was not trained on.

Dev queries of the kinds that were trained on reward a map for copying the style of synthetic queries;
people write in another style. So for every kind a map is trained on the other kinds alone, and the
strength that helps the kind it never saw, on the mean over kinds, is the one to take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hfembed.embed import Vectors
from hfembed.events import Reporter
from hfembed.ranking import Rows, mean_ndcg, top_documents
from hfembed.recipe import Phase
from hfembed.train.adapter import Map, Pairs, learn_map

STRENGTHS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
# With one kind of query alone nothing can be left out; more than this has been seen to overfit.
CAUTIOUS_STRENGTH = 0.5
MIN_DEV_QUERIES = 8


@dataclass(frozen=True)
class Choice:
    """The chosen strength and what it was chosen from."""

    strength: float
    gains: dict[str, dict[str, float]]
    base: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the choice for the manifest and the report."""
        return {"strength": self.strength, "base_ndcg@10": self.base, "gain_by_left_out_kind": self.gains}


def choose_strength(
    train: Pairs, dev: Pairs, documents: Vectors, groups: Rows, phases: list[Phase], seed: int, report: Reporter
) -> Choice:
    """Return the strength with the best mean dev nDCG@10 over left-out kinds; 0 where nothing helps."""
    kinds = [str(kind) for kind in np.unique(dev.kinds) if (dev.kinds == kind).sum() >= MIN_DEV_QUERIES]
    others = {kind: train.where(train.kinds != kind) for kind in kinds}
    left_out = [kind for kind in kinds if len(others[kind])]
    strengths: tuple[float, ...] = STRENGTHS
    if len(left_out) < 2:
        report.warn("Only one kind of query was made, so the strength cannot be checked on another kind.")
        strengths = tuple(strength for strength in STRENGTHS if strength <= CAUTIOUS_STRENGTH)
        others, left_out = dict.fromkeys(kinds, train), kinds
    gains, base = {}, {}
    for kind in report.each(left_out, "choosing the strength on kinds left out", len(left_out), "kinds"):
        learned, _ = learn_map(others[kind], documents, groups, phases, seed)
        scores = {s: score_map(Map(learned.weights, s), dev.where(dev.kinds == kind), documents) for s in strengths}
        base[kind] = round(scores[0.0], 5)
        gains[kind] = {str(s): round(score - scores[0.0], 5) for s, score in scores.items()}
    mean = (
        {s: float(np.mean([gains[kind][str(s)] for kind in left_out])) for s in strengths} if left_out else {0.0: 0.0}
    )
    # Of equal gains the smaller step away from the base wins.
    strength = max(strengths[: len(mean)], key=lambda s: (mean[s], -s))
    return Choice(strength, gains, base)


def score_map(learned: Map, pairs: Pairs, documents: Vectors) -> float:
    """Return nDCG@10 of pairs under a map."""
    ranked = top_documents(learned.apply(pairs.queries), learned.apply(documents), 10)
    return mean_ndcg(ranked, pairs.positives)
