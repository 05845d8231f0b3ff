"""Queries that people asked: where even a few are known, they weigh most in choosing how much is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hfembed.corpus import Documents
from hfembed.embed import Embedder, Vectors
from hfembed.labelled import read_labelled
from hfembed.ranking import Rows, mean_ndcg, top_documents
from hfembed.resources import local_path
from hfembed.stage import Job
from hfembed.train.adapter import Map
from hfembed.train.strength import Choice

PEOPLE = "people"


@dataclass(frozen=True)
class Asked:
    """What people asked, and the row of the document that answers each."""

    queries: list[str]
    answers: Rows


def read_asked(job: Job, documents: Documents) -> Asked | None:
    """Read the queries that the recipe names, if it names any."""
    name = job.recipe.train.dev_queries
    path = local_path(name) if name else None
    if path is None:
        return None
    found = read_labelled(path, documents)
    if found.unknown:
        job.report.warn(f"{found.unknown:,} answers in '{path.name}' are no documents of the run; they are left out.")
    return Asked(found.queries, np.array(found.answers, dtype=np.int64))


def hear_people(choice: Choice, learned: Map, asked: Asked, embedder: Embedder, documents: Vectors) -> Choice:
    """Choose the strength anew, what people asked counting as much as all that was left out together."""
    queries = np.asarray(embedder.queries(asked.queries))
    strengths = sorted({float(strength) for gains in choice.gains.values() for strength in gains} | {0.0})
    scores = {}
    for strength in strengths:
        moved = Map(learned.weights, strength)
        ranked = top_documents(moved.apply(queries), moved.apply(documents), 10)
        scores[strength] = mean_ndcg(ranked, asked.answers)
    gains = {str(strength): round(score - scores[0.0], 5) for strength, score in scores.items()}
    others = {s: float(np.mean([gain[str(s)] for gain in choice.gains.values()] or [0.0])) for s in strengths}
    # What people asked may not get worse; of equal gains the smaller step away from the base wins.
    harmless = [s for s in strengths if gains[str(s)] >= 0]
    strength = max(harmless, key=lambda s: (others[s] + gains[str(s)], -s))
    return replace(
        choice,
        strength=strength,
        gains=choice.gains | {PEOPLE: gains},
        base=choice.base | {PEOPLE: round(scores[0.0], 5)},
    )
