"""mine: find documents that look right for a query and are not."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.corpus import Documents
from hfembed.embed import Embedder
from hfembed.ranking import Rows, Vectors, top_scored
from hfembed.recipe import Cap, CapType, Mine
from hfembed.run import LAYOUT
from hfembed.stage import Job, Outcome, require


def mine(job: Job) -> Outcome:
    """Add hard negatives to the training pairs: near in the base model's eyes, but below the cap."""
    job.report.note("loading PyTorch and the base model")
    require("train", "torch", "sentence_transformers")
    settings = job.recipe.mine
    documents = Documents.read(job.run.path(LAYOUT.documents))
    pairs = pq.read_table(job.run.path(LAYOUT.pairs))
    embedder = Embedder(job.sources.base, job.run.path(LAYOUT.embeddings), job.report)
    document_vectors = embedder.documents(documents.texts())
    query_vectors = embedder.queries(pairs["query"].to_pylist())
    row_of = {identity: row for row, identity in enumerate(documents.ids)}
    positives = np.array([row_of[identity] for identity in pairs["positive_id"].to_pylist()], dtype=np.int64)
    scores = np.einsum("ij,ij->i", query_vectors, document_vectors[positives])
    job.report.note(f"looking for {settings.negatives} negatives per query among {len(documents):,} documents")
    found, found_scores = top_scored(query_vectors, document_vectors, settings.candidates, settings.block_size)
    chosen, chosen_scores, tally = choose_negatives(
        found, found_scores, positives, scores, _group_numbers(documents.groups), settings, job.recipe.seed
    )
    _fill_scores(chosen, chosen_scores, query_vectors, document_vectors)
    table = _with_negatives(pairs, documents, scores, chosen, chosen_scores)
    pq.write_table(table, job.out / "train.parquet")
    return Outcome(
        counts={"triplets": len(pairs), **tally},
        facts={
            "median_positive_score": round(float(np.median(scores)), 4),
            "median_negative_score": round(float(np.median(chosen_scores)), 4),
            "precision": embedder.precision([]),
        },
    )


def choose_negatives(
    found: Rows,
    found_scores: Vectors,
    positives: Rows,
    positive_scores: Vectors,
    groups: Rows,
    settings: Mine,
    seed: int,
) -> tuple[Rows, Vectors, dict[str, int]]:
    """Take the nearest candidates under the cap; fill short rows with documents drawn at random.

    A candidate of the positive's group is a near-duplicate of it and never a negative. Returns rows,
    scores (NaN where drawn at random) and counts.
    """
    highest = cap_scores(positive_scores, settings.cap)
    same = groups[found] == groups[positives][:, None]
    above = (found_scores > highest[:, None]) & ~same
    usable = ~same & ~above & np.isfinite(found_scores)
    chosen = np.empty((len(positives), settings.negatives), dtype=np.int64)
    scores = np.full(chosen.shape, np.nan, dtype=np.float32)
    draw, filled = random.Random(seed), 0
    for query in range(len(positives)):
        places = np.flatnonzero(usable[query])[: settings.negatives]
        picked = found[query, places].tolist()
        scores[query, : len(picked)] = found_scores[query, places]
        short = settings.negatives - len(picked)
        if short:
            picked += _draw_others(draw, short, picked, groups, int(groups[positives[query]]))
            filled += short
        chosen[query] = picked
    tally = Counter(above_cap=int(above.sum()), drawn_at_random=filled)
    return chosen, scores, dict(tally)


def cap_scores(positive_scores: Vectors, cap: Cap) -> Vectors:
    """Return the highest score that a negative of each query may have."""
    if cap.type is CapType.NONE:
        return np.full_like(positive_scores, np.inf)
    if cap.type is CapType.ABSOLUTE:
        return positive_scores - np.float32(cap.value)
    # Written so that a negative score is lowered too, not raised.
    return np.asarray(positive_scores - (1 - cap.value) * np.abs(positive_scores), dtype=np.float32)


def _draw_others(draw: random.Random, count: int, taken: list[int], groups: Rows, own_group: int) -> list[int]:
    others: list[int] = []
    tries = 0
    while len(others) < count:
        row = draw.randrange(len(groups))
        tries += 1
        # A corpus smaller than the number of negatives repeats documents rather than looping for ever.
        fresh = (row not in taken and row not in others) or tries > 100 * count
        if groups[row] != own_group and fresh:
            others.append(row)
    return others


def _fill_scores(chosen: Rows, scores: Vectors, queries: Vectors, documents: Vectors) -> None:
    for query, place in np.argwhere(np.isnan(scores)):
        scores[query, place] = queries[query] @ documents[chosen[query, place]]


def _group_numbers(groups: list[str]) -> Rows:
    numbers: npt.NDArray[np.int64] = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)[1]
    return numbers


def _with_negatives(
    pairs: pa.Table, documents: Documents, scores: Vectors, chosen: Rows, negatives: Vectors
) -> pa.Table:
    texts = documents.texts()
    columns: dict[str, Any] = {"score_positive": pa.array(scores, pa.float32())}
    for number in range(chosen.shape[1]):
        rows = chosen[:, number].tolist()
        columns[f"negative_{number + 1}"] = pa.array([texts[row] for row in rows], pa.string())
        columns[f"negative_{number + 1}_id"] = pa.array([documents.ids[row] for row in rows], pa.string())
        columns[f"score_negative_{number + 1}"] = pa.array(negatives[:, number], pa.float32())
    for name, values in columns.items():
        pairs = pairs.append_column(name, values)
    return pairs
