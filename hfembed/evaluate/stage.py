"""The evaluate stage: score base, tuned and BM25 on the same queries and say what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.embed import Embedder
from hfembed.evaluate.verdict import Comparison, Verdict, compare_paired
from hfembed.hub import TUNED, local_model
from hfembed.run import LAYOUT, write_json
from hfembed.stage import Job, Outcome, require

if TYPE_CHECKING:
    from hfembed.evaluate.task import Collection, Scores

BASE = "base"
BM25 = "bm25"
TASK = "HfembedHeldOut"


def evaluate(job: Job) -> Outcome:
    """Write report.json, per_query.parquet and mteb's own result files."""
    require("train", "torch", "sentence_transformers", "mteb", "datasets", "Stemmer")
    from hfembed.evaluate.task import Collection, score_bm25, score_embedder

    collection = Collection.read(job.run.path(LAYOUT.test), TASK)
    folder = job.run.path(LAYOUT.embeddings)
    sources = {BASE: job.sources.base, TUNED: local_model(TUNED, job.run.path(LAYOUT.model))}
    scores: dict[str, Scores] = {}
    for name, source in sources.items():
        job.report.note(f"scoring {name} on {len(collection.queries):,} test queries")
        scores[name] = score_embedder(collection, Embedder(source, folder, job.report), name)
    job.report.note("scoring BM25")
    scores[BM25] = score_bm25(collection)
    report = make_report(collection, scores, job)
    write_json(job.out / "report.json", report)
    for name, score in scores.items():
        score.result.to_disk(job.out / f"mteb_{name}.json")
    pq.write_table(_per_query(collection, scores), job.out / "per_query.parquet")
    return Outcome(
        counts={"queries": len(collection.queries), "documents": len(collection.corpus)},
        facts={"verdict": report["verdict"]},
    )


def make_report(collection: Collection, scores: dict[str, Scores], job: Job) -> dict[str, Any]:
    """Return every metric of base, tuned and BM25, with the comparison and the verdict."""
    from hfembed.evaluate.task import METRICS

    metrics: dict[str, dict[str, Any]] = {}
    comparisons: dict[str, Comparison] = {}
    for metric in METRICS:
        values = {name: _values(score, collection, metric) for name, score in scores.items()}
        comparisons[metric] = _compare(values, collection, job)
        metrics[metric] = {
            **{name: round(float(value.mean()), 5) for name, value in values.items()},
            "delta": round(comparisons[metric].delta, 5),
            "ci": [round(comparisons[metric].low, 5), round(comparisons[metric].high, 5)],
        }
    main = comparisons["ndcg@10"]
    return {
        "verdict": main.verdict,
        "sentence": describe_verdict(main, metrics["ndcg@10"][BASE], len(collection.queries)),
        "detectable": round(main.detectable, 5),
        "confidence": job.recipe.evaluate.confidence,
        "queries": len(collection.queries),
        "documents": len(collection.corpus),
        "metrics": metrics,
        "by_kind": _by_kind(collection, scores),
    }


def describe_verdict(comparison: Comparison, base: float, queries: int) -> str:
    """Say the verdict in a sentence."""
    relative = f", {comparison.delta / base:+.1%} relative" if base else ""
    shown = f"nDCG@10 {comparison.delta:+.4f}{relative} ({comparison.low:+.4f} to {comparison.high:+.4f})"
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


def _compare(values: dict[str, Any], collection: Collection, job: Job) -> Comparison:
    settings = job.recipe.evaluate
    clusters = [min(relevant) for relevant in collection.qrels.values()]
    return compare_paired(
        values[BASE], values[TUNED], clusters, settings.bootstrap, settings.confidence, job.recipe.seed
    )


def _values(score: Scores, collection: Collection, metric: str) -> Any:
    return np.array([score.per_query[identity][metric] for identity in collection.queries])


def _by_kind(collection: Collection, scores: dict[str, Scores]) -> dict[str, Any]:
    kinds = np.array([collection.kinds[identity] for identity in collection.queries])
    table = {}
    for kind in np.unique(kinds).tolist():
        chosen = kinds == kind
        table[kind] = {"queries": int(chosen.sum())} | {
            name: round(float(_values(score, collection, "ndcg@10")[chosen].mean()), 5)
            for name, score in scores.items()
        }
    return table


def _per_query(collection: Collection, scores: dict[str, Scores]) -> pa.Table:
    identities = list(collection.queries)
    columns: dict[str, Any] = {
        "query_id": identities,
        "query": [collection.queries[identity] for identity in identities],
        "kind": [collection.kinds[identity] for identity in identities],
    }
    for name, score in scores.items():
        for metric in next(iter(score.per_query.values())):
            columns[f"{name}_{metric}"] = [score.per_query[identity][metric] for identity in identities]
    return pa.table(columns)
