"""Report: every metric of base, tuned, BM25 and both together, the comparison, and the verdict in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hfembed.evaluate.metrics import ALL, MAIN, METRICS
from hfembed.evaluate.verdict import Comparison, Verdict, compare_paired
from hfembed.recipe import Recipe

if TYPE_CHECKING:
    from hfembed.evaluate.collection import Collection
    from hfembed.evaluate.task import Scores

BASE, TUNED, BM25, FUSION = "base", "tuned", "bm25", "fusion"

Numbers = npt.NDArray[np.float64]


def make_report(collection: Collection, scores: dict[str, Scores], recipe: Recipe) -> dict[str, Any]:
    """Return the held-out test as report.json keeps it."""
    kinds = np.array([collection.kinds[identity] for identity in collection.queries])
    clusters = np.array(collection.clusters())
    metrics: dict[str, dict[str, Any]] = {}
    comparisons: dict[str, Comparison] = {}
    for metric in METRICS:
        values = {name: values_of(score, collection, metric) for name, score in scores.items()}
        comparisons[metric] = _compare(values, clusters, recipe)
        metrics[metric] = {**_means(values), **_difference(comparisons[metric])}
    main = comparisons[MAIN]
    return {
        "verdict": main.verdict,
        "sentence": describe_verdict(main, metrics[MAIN][BASE], len(collection.queries)),
        "detectable": round(main.detectable, 5),
        "confidence": recipe.evaluate.confidence,
        "resamples": recipe.evaluate.bootstrap,
        "queries": len(collection.queries),
        "documents": len(collection.corpus),
        "metrics": metrics,
        "measures": _measures(collection, scores),
        "by_kind": _by_kind(collection, scores, kinds, clusters, recipe),
    }


def describe_verdict(comparison: Comparison, base: float, queries: int) -> str:
    """Say the verdict in a sentence."""
    relative = f", {comparison.delta / base:+.1%} relative" if base else ""
    interval = f"{comparison.low:+.4f} to {comparison.high:+.4f}, p = {comparison.p:.2g}"
    shown = f"nDCG@10 {comparison.delta:+.4f}{relative} ({interval})"
    if comparison.delta == comparison.low == comparison.high == 0:
        return (
            f"The tuned model ranks {queries:,} held-out queries exactly as the base does: nothing that was learned "
            "helped queries of another kind, so the base was kept."
        )
    if comparison.verdict is Verdict.BETTER:
        return f"The tuned model is better than the base on {queries:,} held-out queries: {shown}."
    if comparison.verdict is Verdict.WORSE:
        return f"The tuned model is worse than the base on {queries:,} held-out queries: {shown}."
    return (
        f"No difference between tuned and base can be told on {queries:,} held-out queries: {shown}. "
        f"A difference below {comparison.detectable:.4f} would have gone unseen."
    )


def values_of(score: Scores, collection: Collection, metric: str) -> Numbers:
    """Return one metric of every query, in the collection's order."""
    return np.array([score.per_query[identity][metric] for identity in collection.queries], dtype=np.float64)


def per_query(collection: Collection, scores: dict[str, Scores]) -> pa.Table:
    """Return what became of every query, as a table."""
    columns: dict[str, Any] = {
        "query_id": list(collection.queries),
        "query": list(collection.queries.values()),
        "kind": [collection.kinds[identity] for identity in collection.queries],
    }
    for name, score in scores.items():
        columns |= {f"{name}_{metric}": values_of(score, collection, metric) for metric in METRICS}
    return pa.table(columns)


def _compare(values: dict[str, Numbers], clusters: npt.NDArray[np.str_], recipe: Recipe) -> Comparison:
    settings = recipe.evaluate
    names = clusters.tolist()
    return compare_paired(values[BASE], values[TUNED], names, settings.bootstrap, settings.confidence, recipe.seed)


def _means(values: dict[str, Numbers]) -> dict[str, float]:
    return {name: round(float(value.mean()), 5) for name, value in values.items()}


def _difference(found: Comparison) -> dict[str, Any]:
    interval = [round(found.low, 5), round(found.high, 5)]
    return {"delta": round(found.delta, 5), "ci": interval, "p": round(found.p, 5)}


def _measures(collection: Collection, scores: dict[str, Scores]) -> dict[str, dict[str, float]]:
    return {
        metric: _means({name: values_of(score, collection, metric) for name, score in scores.items()}) for metric in ALL
    }


def _by_kind(
    collection: Collection,
    scores: dict[str, Scores],
    kinds: npt.NDArray[np.str_],
    clusters: npt.NDArray[np.str_],
    recipe: Recipe,
) -> dict[str, Any]:
    values = {name: values_of(score, collection, MAIN) for name, score in scores.items()}
    table = {}
    for kind in np.unique(kinds).tolist():
        chosen = kinds == kind
        own = {name: value[chosen] for name, value in values.items()}
        others = {identity for identity, is_kind in zip(collection.queries, chosen, strict=True) if not is_kind}
        table[kind] = {
            "queries": int(chosen.sum()),
            **_means(own),
            **_difference(_compare(own, clusters[chosen], recipe)),
            "measures": _measures(collection.without(others), scores),
        }
    return table
