"""Corpus: what is searched, in memory or on disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from filelock import FileLock

from hfembed.corpus import Documents, locate_corpus
from hfembed.events import Reporter
from hfembed.index.build import EXACT_BELOW
from hfembed.index.manifest import finished
from hfembed.index.sources import count_rows, find_index, indexed_documents, write_documents
from hfembed.place import Place, cache_folder, find_place
from hfembed.pull import read_corpus
from hfembed.pull.documents import Document
from hfembed.recipe import Pull
from hfembed.run import CACHE_LAYOUT

__all__ = [
    "OnDisk",
    "Passage",
    "Place",
    "Readable",
    "Searched",
    "cache_folder",
    "find_place",
    "open_corpus",
    "read_documents",
    "read_place",
]


class Passage(NamedTuple):
    """A document as it is shown."""

    id: str
    title: str
    text: str


class Readable(Protocol):
    """Documents that are read by their numbers, wherever they are."""

    def __len__(self) -> int:
        """Return how many there are."""

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """Return the ids of documents."""

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """Return documents as they are shown."""

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers of those of some documents that are there."""

    def spread(self, count: int) -> list[int]:
        """Return the numbers of so many documents, spread over all."""


@dataclass(frozen=True)
class Searched:
    """A corpus in memory. whole: nothing of it was left out."""

    place: Place
    documents: Documents
    whole: bool = True

    def __len__(self) -> int:
        """Return how many documents there are."""
        return len(self.documents)

    @cached_property
    def texts(self) -> list[str]:
        """The texts as they are embedded."""
        return self.documents.texts()

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {identity: row for row, identity in enumerate(self.documents.ids)}

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """Return the ids of documents."""
        return [self.documents.ids[row] for row in numbers]

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """Return documents as they are shown."""
        found = self.documents
        return [Passage(found.ids[row], found.titles[row], found.bodies[row]) for row in numbers]

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers of those of some documents that are there."""
        return {name: self._rows[name] for name in ids if name in self._rows}

    def spread(self, count: int) -> list[int]:
        """Return the numbers of so many documents, spread over all."""
        rows: list[int] = np.linspace(0, len(self) - 1, min(len(self), count)).round().astype(np.int64).tolist()
        return rows


@dataclass(frozen=True)
class OnDisk:
    """A corpus that stays on disk: it is an index, or too large to be searched without one.

    limit: so many documents may be embedded for a model that has no index yet.
    """

    place: Place
    size: int
    limit: int | None = None
    whole: bool = True

    def __len__(self) -> int:
        """Return how many documents there are."""
        return self.size


def open_corpus(place: Place, limit: int | None = None, report: Reporter | None = None) -> Searched | OnDisk:
    """Read a corpus that was found into memory, at most so many documents of it; leave a large one on disk.

    An index is left there too, whatever its size. limit: how many documents may be embedded.
    """
    if place.is_index:
        return OnDisk(place, finished(find_index(place.name)).documents, limit)
    if place.documents.is_file():
        size = count_rows(place.documents)
        if size >= EXACT_BELOW and (limit is None or _is_run(place)):
            return OnDisk(place, size)
    elif limit is None:
        documents = read_corpus(locate_corpus(place.name), Pull(), report=report)
        first = list(itertools.islice(documents, EXACT_BELOW))
        if len(first) < EXACT_BELOW:
            return Searched(place, _in_memory(first))
        _keep(itertools.chain(first, documents), place.documents)
        return OnDisk(place, count_rows(place.documents))
    return read_place(place, limit)


def read_place(place: Place, limit: int | None = None) -> Searched:
    """Read a corpus that was found into memory, at most so many documents of it."""
    if _is_run(place):
        return Searched(place, Documents.read(place.documents))
    if place.is_index:
        tables = [table.to_pydict() for table in indexed_documents(find_index(place.name))]
        names = ("id", "title", "text", "group", "document")
        return Searched(place, Documents(*([value for table in tables for value in table[name]] for name in names)))
    settings = Pull(limit=limit + 1 if limit else None)
    found = list(read_corpus(locate_corpus(place.name), settings))
    kept = found[:limit]
    return Searched(place, _in_memory(kept), whole=len(kept) == len(found))


def read_documents(corpus: str) -> tuple[Documents, Path]:
    """Return the documents of a corpus or of a finished run, and where their embeddings are kept."""
    found = read_place(find_place(corpus))
    return found.documents, found.place.cache


def _is_run(place: Place) -> bool:
    return place.documents.parent != place.cache


def _in_memory(documents: Sequence[Document]) -> Documents:
    ids = [document.id for document in documents]
    return Documents(
        ids=ids,
        titles=[document.title for document in documents],
        bodies=[document.text for document in documents],
        groups=ids,
        documents=ids,
    )


def _keep(documents: Iterable[Document], file: Path) -> None:
    """Write the documents of a large corpus, whole or not at all, in the place of what it held before."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if file.is_file():
            return  # another process has written it meanwhile
        begun = file.with_suffix(".partial")
        write_documents(documents, begun)
        for old in file.parent.glob(CACHE_LAYOUT.documents.format(key="*")):
            old.unlink(missing_ok=True)
        begun.replace(file)
