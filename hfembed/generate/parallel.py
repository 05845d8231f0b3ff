"""Extractive queries for many documents, on every core where that pays."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

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
    written = _write_each(texts, len(rows), _Writer(vocabulary, settings, seed))
    for row, queries in report.each(zip(rows, written, strict=True), "writing queries", len(rows), "documents"):
        made += [Query(text, kind, (row,), splits[row], passage=passage) for kind, text, passage in queries]
    return made


class _Writer:
    """Writes the queries of one document; sent to other processes whole, once each."""

    def __init__(self, vocabulary: Vocabulary, settings: Generate, seed: int) -> None:
        self._vocabulary, self._kinds, self._seed = vocabulary, settings.kinds, seed
        self._whole = {QueryKind.TITLE} if settings.title_in_passage else set()

    def __call__(self, texts: Texts) -> Written:
        passage = Passage(*texts, self._vocabulary, self._seed)
        return [
            (kind, text, None if kind in self._whole else passage_for(passage, kind, text))
            for kind, text in write_queries(passage, self._kinds)
        ]


def _write_each(texts: Iterator[Texts], count: int, writer: _Writer) -> Iterator[Written]:
    processes = min(os.cpu_count() or 1, count // WORTH_PROCESSES)
    if processes < 2:
        yield from map(writer, texts)
        return
    chunks = iter(lambda: list(islice(texts, CHUNK)), [])
    # Spawned, because a process that runs torch's threads cannot be forked safely.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _use_writer, (writer,)) as pool:
        for written in pool.map(_write_chunk, chunks):
            yield from written


_writer: _Writer


def _use_writer(writer: _Writer) -> None:
    global _writer
    _writer = writer


def _write_chunk(chunk: list[Texts]) -> list[Written]:
    return [_writer(texts) for texts in chunk]
