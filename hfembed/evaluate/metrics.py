"""Metrics: what one ranking is worth, at several depths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

CUTOFFS = (1, 5, 10, 100)
MEASURES = ("ndcg", "map", "recall", "precision", "mrr")
ALL = (*(f"{measure}@{depth}" for measure in MEASURES for depth in CUTOFFS), "hit@1")
# What tables and cards show.
METRICS = ("ndcg@10", "recall@10", "mrr@10", "hit@1")
MAIN = METRICS[0]


def query_metrics(scores: Mapping[str, float], relevant: Mapping[str, int]) -> dict[str, float]:
    """Return one query's metrics over a ranking by score; their means equal mteb's own figures."""
    # trec_eval, which mteb asks, puts the later id first where scores are equal.
    ranked = sorted(scores, key=lambda identity: (scores[identity], identity), reverse=True)[: CUTOFFS[-1]]
    gains = [relevant.get(identity, 0) for identity in ranked]
    ideal = sorted(relevant.values(), reverse=True)
    values: dict[str, float] = {}
    for depth in CUTOFFS:
        hits = [place for place, gain in enumerate(gains[:depth], 1) if gain]
        values |= {
            f"ndcg@{depth}": _discounted(gains[:depth]) / _discounted(ideal[:depth]),
            f"map@{depth}": sum(found / place for found, place in enumerate(hits, 1)) / len(relevant),
            f"recall@{depth}": len(hits) / len(relevant),
            f"precision@{depth}": len(hits) / depth,
            f"mrr@{depth}": 1 / hits[0] if hits else 0.0,
        }
    return {**values, "hit@1": values["precision@1"]}


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))
