"""Finish: index words and vectors of what was written, measure the search, and choose how scores are joined."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hfembed.embed import Embedder
from hfembed.events import Reporter
from hfembed.index.approximate import WANTED_RECALL, make_approximate
from hfembed.index.fusion import DEFAULT, MIN_QUERIES, PART_DEPTH, Asked, choose_fusion, read_dev
from hfembed.index.manifest import Approximate, Fusion, IndexManifest, State
from hfembed.index.store import TEXT, Store
from hfembed.stage import library_versions

# The first words of documents stand for queries where none are known.
SAMPLED, WORDS = 100, 6
# Of a large index that has changed by more than this the words are counted anew.
RECOUNTED = 0.1


def finish(
    store: Store, manifest: IndexManifest, embedder: Embedder, run: Path | None, moved: float, report: Reporter
) -> IndexManifest:
    """Return what the index says of itself once it is done. moved: the share of the documents that changed.

    run: the folder whose queries of dev choose, if it has some.
    """
    is_large = len(store) >= manifest.exact_below
    task = report.task("indexing words")
    store.settle()
    if not store.has_words or moved > RECOUNTED or not is_large:
        store.index_words()
        store.settle()
    task.finish()
    first = list(_first_words(store))
    dev = read_dev(run) if run is not None else []
    approximate = None
    if is_large:
        sample = embedder.queries([query for query, _ in dev][:SAMPLED] or first)
        approximate = make_approximate(store, np.asarray(sample), manifest.approximate, report)
        store.settle()
        _warn_of(approximate.recall, manifest.exact_below, report)
    else:
        store.drop_vector_index()
    return manifest.model_copy(
        update={
            "state": State.DONE,
            "approximate": approximate,
            "fusion": _fuse(store, embedder, approximate, dev, report),
            "precision": str(embedder.precision(first)["precision"]),
            "dimensions": store.dimensions,
            "documents": len(store),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {**library_versions(), "lancedb": version("lancedb")},
        }
    )


def _fuse(
    store: Store, embedder: Embedder, how: Approximate | None, dev: list[tuple[str, str]], report: Reporter
) -> Fusion:
    numbers = store.numbers(sorted({identity for _, identity in dev}))
    known = [row for row in dev if row[1] in numbers]
    vectors = embedder.queries([query for query, _ in known]) if known else ()
    rows = [(*row, vector) for row, vector in zip(known, vectors, strict=True)]
    asked = [
        Asked(store.nearest(vector, PART_DEPTH, how), store.by_words(query, PART_DEPTH), numbers[identity])
        for query, identity, vector in report.each(rows, "weighing vectors and words", len(rows), "queries")
    ]
    fusion = choose_fusion(asked)
    if fusion is DEFAULT:
        report.note(
            f"vectors and words count alike: the corpus has {len(asked) or 'no'} queries of dev to choose by, "
            f"and it takes {MIN_QUERIES}"
        )
    return fusion


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
