"""Report: what mining found, in numbers, samples and warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hfembed.events import Reporter
from hfembed.mine.asked import Asked
from hfembed.mine.balanced import NEAR_SHARES
from hfembed.mine.chosen import Chosen
from hfembed.mine.rules import Mask, Miner, Rules, code, share_of
from hfembed.mine.space import Candidates, Space
from hfembed.ranking import Pairs, Rows, Vectors, pair_scores
from hfembed.recipe import CandidateSource, CapType, Mine

# Cosines lie within -1 and 1, so they never need more bins than this.
BIN, MOST_BINS = 0.05, 41
SAMPLES = 5
SAMPLE_CHARACTERS = 100
# A negative above this share of the lowest positive's score is probably an unmarked answer.
SUSPECTED = 0.95
MAX_SHORT = 0.05
# A document far from everything has no others than such; one in a thousand of them is no concern.
MAX_SUSPECTED = 0.001
RATIO = (0.5, 0.98)
# Where a positive should stand among all documents, and how many may stand lower.
DEPTH, MAX_OUTSIDE, MIN_CHECKED = 100, 0.1, 20
WEAK = 0.2
MAX_GINI = 0.5


def describe(chosen: Chosen, rules: Rules, asked: Asked, scores: Vectors, lost: Mask, settings: Mine) -> dict[str, Any]:
    """Return the facts of the stage. scores: of the positive, by row of the pairs."""
    kept = ~lost[asked.rows.queries]
    rows, tally = asked.rows.queries[kept], chosen.tally
    curated = chosen.miners == code(Miner.GIVEN)
    above = curated & (chosen.rows >= 0) & (chosen.scores > rules.bounds.highest[:, None])
    return {
        **similarity(chosen, rows, scores[kept], rules.bounds.lowest),
        "miners": chosen.miner_counts(rows),
        "cap": rules.cut(),
        "given_above_cap": int(above.sum()),
        "short_rows": {
            "policy": str(settings.short_rows),
            "queries": tally["short"],
            "share": round(tally["short"] / len(asked), 5),
            "repeated": tally["repeated"],
            "filled_above_cap": tally["filled_above_cap"],
        },
    }


def count_dropped(chosen: Chosen, rules: Rules, asked: Asked, lost: Mask) -> dict[str, int]:
    """Return what became no negative, and rows that became no triplet, by reason."""
    return {
        "given_positive": chosen.tally["given_positive"],
        "given_over_limit": chosen.tally["given_over_limit"],
        "cross_encoder": rules.tally["cross_encoder"],
        "short": int(lost[asked.rows.queries].sum()),
    }


def count_excluded(asked: Asked, vectors: Space, candidates: Candidates) -> dict[str, int]:
    """Return how many answers and near-duplicates of answers would have been candidates."""
    scores = pair_scores(vectors.queries, vectors.documents, asked.excluded)
    last = candidates["score"][:, -1] if candidates.shape[1] else np.full(len(asked), -np.inf)
    near = scores >= last[asked.excluded.queries]
    is_answer = _in(asked.excluded, asked.positives, len(vectors.documents))
    answers = np.bincount(asked.excluded.queries[near & is_answer], minlength=len(asked))
    return {"other_positive": int(np.maximum(answers - 1, 0).sum()), "same_group": int((near & ~is_answer).sum())}


def _in(pairs: Pairs, others: Pairs, documents: int) -> Mask:
    mine, theirs = (part.queries * documents + part.documents for part in (pairs, others))
    return np.isin(mine, theirs, assume_unique=True)


def outside_of(candidates: Candidates, asked: Asked, scores: Vectors, settings: Mine) -> float | None:
    """Return the share of positives that the model ranks below 100 others; None where too few were looked at."""
    seen = min(settings.candidates, candidates.shape[1])
    if CandidateSource.DENSE not in settings.sources or seen < DEPTH or len(scores) < MIN_CHECKED:
        return None
    # Candidates stand nearest first: with this many above it, a positive is outside; answers of its query are none.
    last = candidates["score"][:, DEPTH - 1]
    return round(float((last[asked.rows.queries] > scores).mean()), 5)


def similarity(chosen: Chosen, rows: Rows, scores: Vectors, lowest: Vectors) -> dict[str, Any]:
    """Return how alike queries are to their positives and negatives. rows: the query of each row of the pairs."""
    negatives = chosen.scores[rows]
    # Given negatives were judged by someone who knows; what they score says nothing against them.
    curated = chosen.miners[rows] == code(Miner.GIVEN)
    suspected = (negatives > share_of(lowest, SUSPECTED)[rows, None]) & ~curated
    ratios = (negatives / scores[:, None])[scores > 0]
    edges = _edges(scores, negatives)
    return {
        "median_positive_score": round(float(np.median(scores)), 4),
        "median_negative_score": round(float(np.median(negatives)), 4),
        "median_ratio": round(float(np.median(ratios)), 4) if ratios.size else None,
        "suspected_false_negatives": round(float(suspected.mean()), 5),
        "histograms": {
            "positives": _histogram(scores, edges),
            "negatives": _histogram(negatives.ravel(), edges),
        },
    }


def samples(train: Path, total: int) -> list[dict[str, Any]]:
    """Return a few rows from all over the training table, their texts cut short."""
    wanted = [at * total // SAMPLES for at in range(min(SAMPLES, total))] if total >= SAMPLES else list(range(total))
    names = {
        "kind": "kind", "query": "query", "positive": "positive", "negative_1": "negative",
        "score_positive": "score_positive", "score_negative_1": "score_negative", "negative_1_miner": "miner",
    }  # fmt: skip
    found, start = [], 0
    with pq.ParquetFile(train) as table:
        for batch in table.iter_batches(columns=list(names)):
            for at in wanted:
                if start <= at < start + len(batch):
                    row = batch.slice(at - start, 1).to_pylist()[0]
                    found.append({new: _short(row[old]) for old, new in names.items()})
            start += len(batch)
    return found


def warn(facts: dict[str, Any], report: Reporter, settings: Mine) -> None:
    """Say what the user should act on."""
    short, ratio, suspected = facts["short_rows"]["share"], facts["median_ratio"], facts["suspected_false_negatives"]
    if short > MAX_SHORT:
        report.warn(
            f"{short:.0%} of the queries have too few candidates under the cap. Look at more of them: "
            "--set mine.candidates=1000, or raise the cap: --set mine.cap.value=0.98"
        )
    if ratio is not None and ratio < RATIO[0]:
        report.warn(
            f"Negatives are easy: half of them score less than {ratio:.2f} of their positive. They teach little. "
            "Take nearer ones: --set mine.sampler.type=top --set mine.sampler.window.first=0"
        )
    if ratio is not None and ratio > RATIO[1]:
        report.warn(
            f"Negatives score {ratio:.2f} of their positive at the median: many may be unmarked answers, or the base "
            "model tells documents of this corpus badly apart. Lower the cap: --set mine.cap.value=0.9"
        )
    if suspected > MAX_SUSPECTED:
        uncapped = settings.cap.type is CapType.NONE
        remedy = "--set mine.cap.type=percent" if uncapped else "--set mine.cap.value=0.95 --set mine.short_rows=drop"
        report.warn(
            f"{suspected:.1%} of the negatives score above {SUSPECTED:.0%} of their query's lowest positive and may be "
            f"unmarked answers. To leave them out: {remedy}"
        )
    _warn_of_imbalance(facts["sampler"], report)
    _warn_of_outside(facts.get("outside_100"), report)


def _warn_of_outside(share: float | None, report: Reporter) -> None:
    if share is None or share <= MAX_OUTSIDE:
        return
    if share > WEAK:
        report.warn(
            f"The model that finds candidates has only {1 - share:.0%} of the answers among its first {DEPTH}: it is too "
            "weak to tell what is nearly right. Name a better one: --set mine.retriever=ORG/NAME"
        )
    else:
        report.warn(
            f"{share:.0%} of the answers stand below the first {DEPTH} documents of the base: these queries may not be "
            "answered there. Read some with hfembed generate --preview, or let them be checked: "
            "--set generate.filters.round_trip.enabled=true"
        )


def _warn_of_imbalance(sampler: dict[str, Any], report: Reporter) -> None:
    near, gini = sampler.get("near_share"), sampler.get("gini", 0.0)
    if near is not None and not NEAR_SHARES[0] <= near <= NEAR_SHARES[1]:
        report.warn(
            f"{near:.0%} of the negatives are near ones, which is not balanced. Look at more candidates: "
            "--set mine.candidates=1000"
        )
    most, cap = sampler.get("most_used", 0), sampler.get("usage_cap", 0)
    if most > cap:
        report.warn(
            f"A document serves as a negative {most:,} times, where {cap:,} was to be the most: some queries had nothing "
            "else below the cap. Leave them out (--set mine.short_rows=drop), or raise mine.cap.value."
        )
    if gini > MAX_GINI:
        report.warn(
            f"Some documents serve as negatives much more often than others (Gini {gini:.2f}). Queries for more of the "
            "corpus would even that out: --set generate.max_documents=100000"
        )


def _edges(*scores: Vectors) -> Vectors:
    low = min(float(values.min()) for values in scores)
    high = max(float(values.max()) for values in scores)
    wide = BIN
    while (high - low) / wide > MOST_BINS:  # dot products, which have no bounds
        wide *= 2
    first, last = int(np.floor(low / wide)), int(np.floor(high / wide)) + 1
    return np.asarray(np.arange(first, last + 1) * wide, dtype=np.float32)


def _histogram(scores: Vectors, edges: Vectors) -> dict[str, list[float] | list[int]]:
    counts = np.histogram(scores, edges)[0]
    return {"edges": [round(float(edge), 2) for edge in edges], "counts": [int(count) for count in counts]}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, str) and len(value) > SAMPLE_CHARACTERS:
        return value[: SAMPLE_CHARACTERS - 1].rstrip() + "…"
    return value
