"""Finish: index words and vectors of what was written, measure the search, and choose how scores are joined."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hfembed.embed import Embedder
from hfembed.events import Reporter
from hfembed.heads import FUSED
from hfembed.index.approximate import WANTED_RECALL, make_approximate
from hfembed.index.asking import HeadSearch
from hfembed.index.fusion import MIN_QUERIES, PART_DEPTH, Asked, DevQueries, choose_fusion, read_dev
from hfembed.index.heads import HeadReader
from hfembed.index.manifest import Approximate, Fusion, IndexManifest, State
from hfembed.index.store import TEXT, Scores, Store
from hfembed.recipe import Head
from hfembed.run import INDEX_LAYOUT
from hfembed.stage import library_versions

# The first words of documents stand for queries where none are known.
SAMPLED, WORDS = 100, 6
# Of a large index that has changed by more than this the words are counted anew.
RECOUNTED = 0.1
# What the table takes beside the vectors, among the sizes of parts.
TABLE = "table"


def finish(
    store: Store,
    manifest: IndexManifest,
    embedder: Embedder,
    heads: HeadReader | None,
    run: Path | None,
    moved: float,
    report: Reporter,
) -> IndexManifest:
    """Return what the index says of itself once it is done. moved: the share of the documents that changed.

    heads: reads token by token, where the index holds heads. run: the folder whose queries of dev choose, if it has some.
    """
    if heads is not None:
        heads.settle(store)
    is_large = len(store) >= manifest.exact_below
    task = report.task("indexing words")
    store.settle()
    if not store.has_words or moved > RECOUNTED or not is_large:
        store.index_words()
        store.settle()
    task.finish()
    first = list(_first_words(store))
    dev = read_dev(run) if run is not None else DevQueries([])
    approximate = None
    if is_large:
        sample = embedder.queries([query for query, _ in dev.rows][:SAMPLED] or first)
        approximate = make_approximate(store, np.asarray(sample), manifest.approximate, report)
        _warn_of(approximate.recall, manifest.exact_below, report)
    else:
        store.drop_vector_index()
    precision = str(embedder.precision(first)["precision"])
    search = heads.search(store) if heads is not None else None
    return manifest.model_copy(
        update={
            "state": State.DONE,
            "approximate": approximate,
            "fusion": _fuse(store, embedder, search, approximate, dev, report),
            "precision": precision,
            "dimensions": store.dimensions,
            "documents": len(store),
            "sizes": _sizes(store),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {**library_versions(), "lancedb": version("lancedb")},
        }
    )


def _fuse(
    store: Store,
    embedder: Embedder,
    heads: HeadSearch | None,
    how: Approximate | None,
    dev: DevQueries,
    report: Reporter,
) -> Fusion:
    numbers = store.numbers(sorted({identity for _, identity in dev.rows}))
    known = [row for row in dev.rows if row[1] in numbers]
    found = _meant(store, embedder, heads, how, [query for query, _ in known])
    rows = zip(known, found, strict=True)
    asked = [
        Asked(dense, store.by_words(query, PART_DEPTH), numbers[identity], fused)
        for (query, identity), (dense, fused) in report.each(rows, "weighing vectors and words", len(known), "queries")
    ]
    fusion = choose_fusion(asked, by_heads=heads is not None, by_people=dev.by_people)
    if not fusion.queries:
        report.note(
            f"vectors and words count alike: the corpus has {len(asked) or 'no'} queries of dev to choose by, "
            f"and it takes {MIN_QUERIES}"
        )
    return fusion


def _meant(
    store: Store, embedder: Embedder, heads: HeadSearch | None, how: Approximate | None, queries: list[str]
) -> Iterator[tuple[Scores, Scores | None]]:
    """Yield what vectors find for each query, and what all heads find where the index holds heads."""
    if heads is not None:
        for query in queries:
            found = heads.compare(heads.read(query), PART_DEPTH, how).rankings
            yield found[Head.DENSE], found[FUSED]
    else:
        for vector in embedder.queries(queries) if queries else ():
            yield store.nearest(vector, PART_DEPTH, how), None


def _sizes(store: Store) -> dict[str, int]:
    """Return the bytes on disk of each part; the table's: texts, words and all else that is in the table."""

    def of(name: str) -> int:
        return sum(file.stat().st_size for file in (store.folder / name).rglob("*") if file.is_file())

    dense = len(store) * store.dimensions * np.float32().nbytes
    parts = {Head.SPARSE: of(INDEX_LAYOUT.postings), Head.MULTI_VECTOR: of(INDEX_LAYOUT.tokens)}
    sizes = {str(Head.DENSE): dense} | {str(head): size for head, size in parts.items() if size}
    return {**sizes, TABLE: of(INDEX_LAYOUT.table_folder) - dense}


def _first_words(store: Store) -> Iterator[str]:
    step = max(1, len(store) // SAMPLED)
    at = 0
    for batch in store.batches(TEXT):
        texts = batch[TEXT]
        yield from (" ".join(str(texts[row]).split()[:WORDS]) for row in range(-at % step, len(batch), step))
        at += len(batch)


def _warn_of(recall: float, exact_below: int, report: Reporter) -> None:
    if recall < WANTED_RECALL:
        report.warn(
            f"Of the ten nearest documents the approximate search finds {recall:.0%}. "
            f"To compare with all: --exact-below {2 * exact_below}, or more than there are documents"
        )
