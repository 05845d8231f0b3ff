"""Batch: many queries under several contenders; where they differ, and who finds the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfembed.compare.contender import Contender
from hfembed.compare.corpus import OnDisk, Searched
from hfembed.compare.library import Found, Library
from hfembed.compare.queries import Query
from hfembed.errors import InputError
from hfembed.evaluate.metrics import MAIN, query_metrics
from hfembed.evaluate.verdict import Comparison, compare_paired
from hfembed.events import Reporter
from hfembed.recipe import Evaluate

SHOWN = 10
MOST_QUERIES = 1_000
SEED = 0


@dataclass(frozen=True)
class Line:
    """What became of one query.

    scores: nDCG@10 of each contender, where the answers are known. shared: how much of the first contender's
    passages each has too.
    """

    query: Query
    scores: tuple[float, ...]
    shared: tuple[float, ...]

    def delta(self, at: int) -> float:
        """Return how much better a contender ranks than the first; without answers, how much it differs."""
        return self.scores[at] - self.scores[0] if self.scores else 1 - self.shared[at]


@dataclass(frozen=True)
class Versus:
    """A contender against the first, query by query; the comparison says what that means."""

    name: str
    wins: int
    ties: int
    losses: int
    comparison: Comparison


@dataclass(frozen=True)
class Batch:
    """Many queries under several contenders. queries: how many there were, before only so many were asked."""

    names: tuple[str, ...]
    lines: tuple[Line, ...]
    labelled: bool
    queries: int

    def versus(self, at: int) -> Versus:
        """Return how a contender fares against the first where answers are known."""
        scores = np.array([line.scores for line in self.lines])
        delta = np.round(scores[:, at] - scores[:, 0], 9)
        clusters = [min(line.query.relevant) for line in self.lines]
        settings = Evaluate()
        found = compare_paired(scores[:, 0], scores[:, at], clusters, settings.bootstrap, settings.confidence, SEED)
        counts = int((delta > 0).sum()), int((delta == 0).sum()), int((delta < 0).sum())
        return Versus(self.names[at], *counts, found)

    def mean(self, at: int) -> float:
        """Return a contender's mean nDCG@10, or without answers how much it shares with the first."""
        return float(np.mean([(line.scores if self.labelled else line.shared)[at] for line in self.lines]))

    def ordered(self, at: int) -> list[Line]:
        """Return the lines, those where a contender differs most from the first foremost."""
        return sorted(self.lines, key=lambda line: -abs(line.delta(at)))


def ask_all(
    library: Library,
    contenders: Sequence[Contender],
    corpus: Searched | OnDisk,
    queries: Sequence[Query],
    report: Reporter | None = None,
) -> Batch:
    """Ask every contender every query; of very many, some that are spread over all."""
    labelled = [query for query in queries if query.relevant]
    asked = labelled or list(queries)
    if not asked:
        raise InputError("There is no query to ask.", "Upload a file, or choose a corpus that has test queries.")
    chosen = [asked[round(at)] for at in np.linspace(0, len(asked) - 1, min(len(asked), MOST_QUERIES))]
    texts = [query.text for query in chosen]
    library.prepare_all(contenders, corpus, report)
    found = [_ids(library.search(contender, corpus, texts, SHOWN, report)) for contender in contenders]
    lines = tuple(_line(query, [answers[at] for answers in found]) for at, query in enumerate(chosen))
    names = tuple(contender.name for contender in contenders)
    return Batch(names, lines, bool(labelled), len(asked))


def _ids(found: Sequence[Found]) -> list[list[str]]:
    """Return the ids of what was found for each query, read at one go."""
    rows = sorted({row for one in found for row in one.rows.tolist()[:SHOWN]})
    names = dict(zip(rows, found[0].where.ids(rows), strict=True))
    return [[names[row] for row in one.rows.tolist()[:SHOWN]] for one in found]


def _line(query: Query, ranked: Sequence[list[str]]) -> Line:
    scores = tuple(_score(names, query) for names in ranked) if query.relevant else ()
    return Line(query, scores, tuple(_shared(ranked[0], names) for names in ranked))


def _score(ranked: list[str], query: Query) -> float:
    places: dict[str, Any] = {identity: -place for place, identity in enumerate(ranked)}
    return query_metrics(places, query.relevant)[MAIN]


def _shared(first: list[str], other: list[str]) -> float:
    most = max(len(first), len(other))
    return len(set(first) & set(other)) / most if most else 1.0
