"""Asking by heads: candidates by vector and by shared tokens, scored by every head and by all of them together.

The scores are those of `hfembed.heads.search`, which has all documents at hand; here they are read where they lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfembed.embed import Precision, Role, Vectors, prompt_of
from hfembed.heads import FUSED
from hfembed.heads.search import Batch, compare_tokens, read_batch
from hfembed.index.manifest import Approximate
from hfembed.index.postings import Postings
from hfembed.index.store import COUNT, FILE, START, VECTOR, Scores, Store, best_first
from hfembed.index.tokens import TokenFiles
from hfembed.ranking import Rows, exact_scores
from hfembed.recipe import Head

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class Compared:
    """What heads find. rankings: of each, and of all together under `fused`. scores: of every candidate."""

    rankings: Mapping[str, Scores]
    scores: Mapping[str, Scores]


class HeadSearch:
    """Searches the parts of an index that a model's heads made."""

    def __init__(
        self,
        store: Store,
        index: Path,
        weights: Mapping[Head, float],
        model: SentenceTransformer,
        precision: Precision,
    ) -> None:
        """Search by the heads in `weights`, with a model that has them."""
        self._store, self._index, self._weights = store, index, weights
        self._model, self._precision = model, precision
        self._files = TokenFiles(index)

    @cached_property
    def _postings(self) -> Postings:
        return Postings(self._index)

    def read(self, query: str) -> Batch:
        """Return what the model makes of a query."""
        return read_batch(self._model, [query], prompt_of(self._model, Role.QUERY), self._precision)

    def shared(self, query: Batch, count: int, where: Any = None) -> Scores:
        """Return the best documents that share a token with a query."""
        return self._best(self._sums(query), count, where)

    def compare(self, query: Batch, count: int, how: Approximate | None, where: Any = None) -> Compared:
        """Return the `count` nearest documents by vector, and by shared tokens, with all their scores."""
        rankings: dict[str, Scores] = {Head.DENSE: self._store.nearest(query.vectors[0], count, how, where)}
        sums = self._sums(query) if Head.SPARSE in self._weights else None
        if sums is not None:
            rankings[Head.SPARSE] = self._best(sums, count, where)
        numbers = sorted(set().union(*rankings.values()))
        if not numbers:
            return Compared({head: {} for head in (*self._weights, FUSED)}, {})
        found = self._scores(query, sums, numbers)
        found[FUSED] = np.sum([self._weights[Head(head)] * scores for head, scores in found.items()], axis=0)
        scores = {head: dict(zip(numbers, map(float, values), strict=True)) for head, values in found.items()}
        return Compared({**scores, **rankings}, scores)

    def _scores(self, query: Batch, sums: Vectors | None, numbers: list[int]) -> dict[str, Vectors]:
        places = (FILE, START, COUNT) if Head.MULTI_VECTOR in self._weights else ()
        rows = self._store.take(numbers, VECTOR, *places)
        vectors = rows[VECTOR].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
        scores: dict[str, Vectors] = {
            Head.DENSE: exact_scores(query.vectors, vectors, np.arange(len(rows), dtype=np.int64)[None])[0]
        }
        if sums is not None:
            scores[Head.SPARSE] = sums[self._postings.places(np.array(numbers, dtype=np.int64))]
        if places:
            asked = query.tokens[0]
            width = asked.shape[1]
            found = (self._files.vectors(place, width) for place in rows.select(list(places)).to_pylist())
            scores[Head.MULTI_VECTOR] = compare_tokens(asked, found)
        return scores

    def _sums(self, query: Batch) -> Vectors:
        assert query.weights is not None
        return self._postings.scores(query.weights.indices, query.weights.data)

    def _best(self, sums: Vectors, count: int, where: Any) -> Scores:
        """Return the best of all documents by the sums of their shared tokens; who shares none is not found."""
        postings = self._postings
        if where is not None:
            passing: Rows = postings.places(self._store.passing(where))
            kept = np.zeros_like(sums)
            kept[passing] = sums[passing]
            sums = kept
        edge = np.partition(sums, -count)[-count] if count < len(sums) else 0.0
        places = np.flatnonzero((sums >= edge) & (sums > 0))
        scores = {int(number): float(sums[at]) for number, at in zip(postings.numbers[places], places, strict=True)}
        return {number: scores[number] for number in best_first(scores, count)}
