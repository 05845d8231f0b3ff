"""Candidates: the documents nearest to every query, from all sources, found block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.events import Reporter
from hfembed.mine.asked import Asked
from hfembed.mine.journal import Journal
from hfembed.mine.lexical import Lexical
from hfembed.mine.space import CANDIDATE, Candidates, Space
from hfembed.ranking import NOBODY, QUERY_BLOCK, Ranker, Rows, Vectors, exact_scores


def width_of(candidates: int, sources: int, documents: int) -> int:
    """Return how many candidates a query can have."""
    return min(candidates, documents) * sources


def find_candidates(
    asked: Asked,
    vectors: Space,
    ranker: Ranker | None,
    lexical: Lexical | None,
    count: int,
    journal: Journal,
    report: Reporter,
) -> Candidates:
    """Return the candidates of every query, nearest first, as a memory map of the journal."""
    count = min(count, len(vectors.documents))
    task = report.task("looking for negatives", len(asked), "queries")
    task.advance(journal.count)
    for start in range(journal.count, len(asked), QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, len(asked))
        block, excluded = np.asarray(vectors.queries[start:stop]), asked.excluded_between(start, stop)
        found = []
        if ranker is not None:
            found.append(_candidates(*ranker.top(block, count, excluded), source="dense"))
        if lexical is not None:
            rows = lexical.top(asked.texts[start:stop], count, excluded)
            found.append(_candidates(rows, exact_scores(block, vectors.documents, rows), source="bm25"))
        journal.append(found[0] if len(found) == 1 and ranker is not None else merge(found))
        task.advance(stop - start)
    task.finish()
    return journal.rows()


def merge(found: list[Candidates]) -> Candidates:
    """Return the union of candidates of several sources, each document once, nearest first."""
    together = np.concatenate(found, axis=1)
    together = _sorted(together, (together["row"],))
    row = together["row"]
    twice = (row[:, :-1] == row[:, 1:]) & (row[:, 1:] >= 0)
    for source in ("dense", "bm25"):
        ranks = together[source]
        # Of a document that stands twice, the first place takes over what the second knows.
        ranks[:, :-1] = np.where(twice, np.maximum(ranks[:, :-1], ranks[:, 1:]), ranks[:, :-1])
    for field, nothing in (("row", NOBODY), ("dense", NOBODY), ("bm25", NOBODY), ("score", -np.inf)):
        together[field][:, 1:][twice] = nothing
    return _sorted(together, (row, -together["score"]))


def _sorted(candidates: Candidates, keys: tuple[npt.NDArray[Any], ...]) -> Candidates:
    return np.take_along_axis(candidates, np.lexsort(keys, axis=1), axis=1)


def _candidates(rows: Rows, scores: Vectors, source: str) -> Candidates:
    made = np.empty(rows.shape, dtype=CANDIDATE)
    made["row"], made["score"], made["dense"], made["bm25"] = rows, scores, NOBODY, NOBODY
    made[source] = np.where(rows >= 0, np.arange(rows.shape[1]), NOBODY)
    made["row"][~np.isfinite(scores)] = NOBODY
    return made
