"""Extractive queries for many documents, spread where that pays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain, islice
from pathlib import Path

from hfembed import engine
from hfembed.corpus import Documents, join_title
from hfembed.events import Reporter
from hfembed.generate.extractive import Passage, passage_for, write_queries
from hfembed.generate.query import Query, Split
from hfembed.generate.vocabulary import MAX_COUNTED, Vocabulary
from hfembed.recipe import Generate, QueryKind

# Below this many documents another process costs more time than it saves.
WORTH_PROCESSES = 4_000
CHUNK = 500

Texts = tuple[str, str, str]
Written = list[tuple[QueryKind, str, str | None]]


def write_all(
    documents: Documents, rows: list[int], splits: list[Split], settings: Generate, seed: int, report: Reporter
) -> list[Query]:
    """Return the queries of the documents in `rows`, in order; equal for any number of processes."""
    counted = range(0, len(documents), max(1, len(documents) // MAX_COUNTED))
    vocabulary = Vocabulary(
        join_title(documents.titles[row], documents.bodies[row])
        for row in report.each(counted, "counting words", len(counted), "documents")
    )
    texts = ((documents.ids[row], documents.titles[row], documents.bodies[row]) for row in rows)
    made = []
    chunks = iter(lambda: list(islice(texts, CHUNK)), [])
    written = chain.from_iterable(
        engine.current().map(
            _Writer(vocabulary, settings, seed), chunks, -(-len(rows) // CHUNK), report,
            processes=min(os.cpu_count() or 1, len(rows) // WORTH_PROCESSES),
        )
    )  # fmt: skip
    for row, queries in report.each(zip(rows, written, strict=True), "writing queries", len(rows), "documents"):
        made += [Query(text, kind, (row,), splits[row], passage=passage) for kind, text, passage in queries]
    return made


class _Writer:
    """Writes the queries of a few documents; sent to other processes whole, once each."""

    files: Mapping[str, Path] = {}
    on_gpu = False

    def __init__(self, vocabulary: Vocabulary, settings: Generate, seed: int) -> None:
        self._vocabulary, self._kinds, self._seed = vocabulary, settings.kinds, seed
        self._whole = {QueryKind.TITLE} if settings.title_in_passage else set()

    def __call__(self, chunk: list[Texts]) -> list[Written]:
        return [self._write(texts) for texts in chunk]

    def _write(self, texts: Texts) -> Written:
        passage = Passage(*texts, self._vocabulary, self._seed)
        return [
            (kind, text, None if kind in self._whole else passage_for(passage, kind, text))
            for kind, text in write_queries(passage, self._kinds)
        ]
