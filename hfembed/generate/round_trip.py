"""Queries that find their documents again, by two retrievers that were not trained on them: the base and BM25."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hfembed.corpus import Documents, join_title
from hfembed.embed import Embedder, unit
from hfembed.events import Reporter
from hfembed.generate.query import Query
from hfembed.ranking import Rows, Vectors, top_scored
from hfembed.recipe import RoundTrip
from hfembed.run import LAYOUT
from hfembed.stage import Job

BLOCK = 2_048
# Ranks are looked up down to here; a document the base does not even rank so high is no answer to it.
DEPTH = 100
FEW_DOCUMENTS = 10_000
# Where the round trip itself is in doubt (shares of the queries).
TOO_STRICT, IDLE, UNANSWERABLE = 0.2, 0.95, 0.1
MIN_CHECKED = 20
# How far down documents are found, counted by range; each begins where the one before it ends.
RANGES, BEYOND = (1, 3, 10, DEPTH), "beyond"


@dataclass(frozen=True)
class Found:
    """Where the worst placed of a query's documents stands, its score, and that of the best other document."""

    rank: int
    score: float
    other: float

    def within(self, limit: int) -> bool:
        """Tell whether it was ranked at all, and not below `limit`."""
        return self.score > float("-inf") and self.rank <= limit


def drop_unfound(job: Job, queries: list[Query], documents: Documents) -> tuple[list[Query], Counter[str]]:
    """Drop queries that nearly repeat another one of their document, and those that do not find their documents."""
    settings = job.recipe.generate.filters
    source = job.sources.base if settings.retriever is None else job.sources.checker
    embedder = Embedder(source, job.run.path(LAYOUT.embeddings), job.report)
    dropped: Counter[str] = Counter()
    if settings.duplicates is not None and queries:
        vectors = unit(np.asarray(embedder.queries([query.text for query in queries])))
        kept = _distinct(queries, vectors, documents.documents, settings.duplicates)
        dropped["near_repeated"] = len(queries) - len(kept)
        queries = kept
    if settings.round_trip.enabled and queries:
        queries, lost = _round_trip(job, queries, documents, embedder)
        dropped += lost
    return queries, dropped


def _distinct(queries: list[Query], vectors: Vectors, sources: Sequence[str], limit: float) -> list[Query]:
    """Keep, in order, every query that is not too near to one kept before of the same document, chunks and all.

    sources: the document that each row was cut from.
    """
    kept: list[Query] = []
    places: dict[str, list[int]] = defaultdict(list)
    for at, query in enumerate(queries):
        own = {sources[row] for row in query.rows}
        others = [other for source in own for other in places[source]]
        if others and float((np.asarray(vectors[others]) @ np.asarray(vectors[at])).max()) > limit:
            continue
        kept.append(query)
        for source in own:
            places[source].append(at)
    return kept


def _round_trip(
    job: Job, queries: list[Query], documents: Documents, embedder: Embedder
) -> tuple[list[Query], Counter[str]]:
    settings = job.recipe.generate.filters.round_trip
    pool = _pool(queries, documents, settings.documents, job.recipe.seed)
    texts = [join_title(documents.titles[row], documents.bodies[row]) for row in pool]
    place = {row: at for at, row in enumerate(pool)}
    same = same_texts(texts)
    vectors, index = embedder.documents(texts), Words(texts)
    asked = embedder.queries([query.text for query in queries])
    kept, dropped, ranks = [], Counter[str](), Counter[str]()
    depth = min(len(pool), DEPTH + max(len(query.rows) for query in queries))
    for start in job.report.each(range(0, len(queries), BLOCK), "finding documents again", unit="blocks"):
        block = queries[start : start + BLOCK]
        own = [[place[row] for row in query.rows] for query in block]
        near = top_scored(np.asarray(asked[start : start + BLOCK]), vectors, depth)
        dense = [find(own[at], near[0][at], near[1][at], same) for at in range(len(block))]
        rows, scores = index.top([query.text for query in block], depth)
        words = [find(own[at], rows[at], scores[at], same) for at in range(len(block))]
        for query, by_meaning, by_words in zip(block, dense, words, strict=True):
            ranks[_range(by_meaning)] += 1
            reason = _reason(settings, len(pool), len(query.rows), by_meaning, by_words)
            if reason is None:
                kept.append(replace(query, details={**query.details, **_details(by_meaning, by_words)}))
            else:
                dropped[reason] += 1
    _warn(len(queries), len(kept), ranks, job.report)
    return kept, dropped


def find(own: Sequence[int], rows: Rows, scores: Vectors, same: npt.NDArray[np.int64]) -> Found:
    """Return where the documents `own` stand in one ranking; a tie counts against them, a twin of one as that one.

    same: the number of a document's text, equal for twins. Beyond what was ranked, the rank is one more than that.
    """
    names, mine = same[rows], {int(same[at]) for at in own}
    ranked = scores > -np.inf
    worst, lowest = 0, float("inf")
    for name in mine:
        hits = np.flatnonzero((names == name) & ranked)
        if not len(hits):
            worst, lowest = len(rows) + 1, float("-inf")
            break
        score = scores[hits[0]]
        above = {int(other) for other in names[ranked & (scores >= score)]} - {name}
        worst, lowest = max(worst, len(above) + 1), min(lowest, float(score))
    others = scores[ranked & ~np.isin(names, list(mine))]
    return Found(worst, lowest, float(others[0]) if len(others) else float("-inf"))


def _reason(settings: RoundTrip, documents: int, positives: int, dense: Found, words: Found) -> str | None:
    # All documents of a multi-hop query have to be found, each among as many as there are of them.
    first = (settings.dense_rank or (1 if documents <= FEW_DOCUMENTS else 3)) * positives
    if not dense.within(first):
        return "not_found_by_base"
    if not words.within(settings.bm25_rank * positives) and not dense.within(positives):
        return "not_found_by_bm25"
    if settings.min_gap is not None and dense.score - dense.other < settings.min_gap:
        return "answered_elsewhere"
    return None


def _details(dense: Found, words: Found) -> dict[str, str]:
    ranks = {"dense_rank": str(dense.rank), "bm25_rank": str(words.rank)}
    return ranks if dense.other == float("-inf") else {**ranks, "gap": f"{dense.score - dense.other:.4f}"}


def _pool(queries: list[Query], documents: Documents, count: int, seed: int) -> list[int]:
    """Return the documents to rank: all, or those of the queries, their neighbours in the source, and a draw."""
    total = len(documents)
    own = {row for query in queries for row in query.rows}
    if total <= count:
        return list(range(total))
    sources = {documents.documents[row] for row in own}
    near = {row for row in range(total) if documents.documents[row] in sources}
    return sorted(near | set(random.Random(seed).sample(range(total), count)))


def same_texts(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return a number for each text; twins have the same."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(" ".join(text.lower().split()), at) for at, text in enumerate(texts)])


class Words:
    """BM25 over the documents that are ranked."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index the documents."""
        import bm25s

        self._size = len(texts)
        self._index = bm25s.BM25(method="lucene")
        tokens = bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
        self._index.index(tokens, show_progress=False)

    def top(self, queries: Sequence[str], count: int) -> tuple[Rows, Vectors]:
        """Return rows and scores of the best documents; -inf where no word is shared."""
        import bm25s

        words = bm25s.tokenize(list(queries), stopwords="en", return_ids=False, show_progress=False)
        rows, scores = self._index.retrieve(words, k=min(count, self._size), show_progress=False)
        scores = np.array(scores, dtype=np.float32)
        scores[scores <= 0] = -np.inf
        return np.asarray(rows, dtype=np.int64), scores


def _range(found: Found) -> str:
    """Return the name of the range that a rank is in."""
    limit = next((limit for limit in RANGES if found.within(limit)), None)
    return BEYOND if limit is None else f"{limit}"


def _warn(count: int, kept: int, ranks: Counter[str], report: Reporter) -> None:
    if count < MIN_CHECKED:
        return
    outside, placed = ranks[BEYOND], ", ".join(f"up to {limit}: {ranks[str(limit)]:,}" for limit in RANGES)
    report.note(
        f"the round trip keeps {kept / count:.0%} of {count:,} queries; rank of their documents by the vectors "
        f"{placed}, below: {outside:,}",
        round_trip={"checked": count, "kept": kept, "ranks": dict(ranks)},
    )
    if outside > UNANSWERABLE * count:
        report.warn(
            f"{outside / count:.0%} of the queries do not bring their document among the base's first {DEPTH}: they "
            "may not be answered there. Look at some with hfembed generate --preview."
        )
    if kept < TOO_STRICT * count:
        report.warn(
            f"The round trip keeps {kept / count:.0%} of the queries: the writer is poor, or the base too weak to check "
            "it. Allow more with --set generate.filters.round_trip.dense_rank=3"
        )
    elif kept > IDLE * count:
        report.note("the round trip finds little to object to")
