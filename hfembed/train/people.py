"""Queries that people asked: where even a few are known, they weigh most in choosing how much is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hfembed.corpus import Documents
from hfembed.embed import Embedder, Vectors
from hfembed.labelled import PEOPLE, read_named
from hfembed.ranking import Rows, ndcg_scores, top_documents
from hfembed.recipe import QueryKind
from hfembed.run import LAYOUT
from hfembed.stage import Job
from hfembed.train.adapter import Map
from hfembed.train.strength import MIN_DEV_QUERIES, STANDARD_ERRORS, Choice


@dataclass(frozen=True)
class Asked:
    """What people asked, and the row of the document that answers each."""

    queries: list[str]
    answers: Rows


def read_asked(job: Job, documents: Documents) -> Asked | None:
    """Read what people asked to choose by: the queries that the recipe names, and those of dev if they are enough."""
    queries, answers = _read_dev(job, documents)
    if len(queries) < MIN_DEV_QUERIES:
        queries, answers = [], []
    if name := job.recipe.train.dev_queries:
        found = read_named(name, documents, job.report)
        queries, answers = queries + found.queries, answers + found.answers
    return Asked(queries, np.array(answers, dtype=np.int64)) if queries else None


def hear_people(choice: Choice, learned: Map, asked: Asked, embedder: Embedder, documents: Vectors) -> Choice:
    """Choose the strength anew, what people asked counting as much as all that was left out together."""
    queries = np.asarray(embedder.queries(asked.queries))
    strengths = sorted({float(strength) for gains in choice.gains.values() for strength in gains} | {0.0})
    scores = {}
    for strength in strengths:
        moved = Map(learned.weights, strength)
        ranked = top_documents(moved.apply(queries), moved.apply(documents), 10)
        scores[strength] = ndcg_scores(ranked, asked.answers)
    gains = {str(strength): round(float((score - scores[0.0]).mean()), 5) for strength, score in scores.items()}
    others = {s: float(np.mean([gain[str(s)] for gain in choice.gains.values()] or [0.0])) for s in strengths}
    # What people asked may not be shown to get worse; of equal gains the smaller step away from the base wins.
    harmless = [s for s in strengths if not _surely_worse(scores[s] - scores[0.0])]
    strength = max(harmless, key=lambda s: (others[s] + gains[str(s)], -s))
    return replace(
        choice,
        strength=strength,
        gains=choice.gains | {PEOPLE: gains},
        base=choice.base | {PEOPLE: round(float(scores[0.0].mean()), 5)},
    )


def _surely_worse(gains: npt.NDArray[np.float64]) -> bool:
    """Tell whether a loss is more than chance: the mean of a few queries falls when a single one does."""
    return bool(gains.mean() + STANDARD_ERRORS * gains.std() / np.sqrt(len(gains)) < 0)


def _read_dev(job: Job, documents: Documents) -> tuple[list[str], list[int]]:
    row_of = {identity: row for row, identity in enumerate(documents.ids)}
    labelled = [("kind", "==", str(QueryKind.LABELLED))]
    table = pq.read_table(job.run.path(LAYOUT.dev), columns=["query", "positive_id"], filters=labelled)
    return table["query"].to_pylist(), [row_of[identity] for identity in table["positive_id"].to_pylist()]
