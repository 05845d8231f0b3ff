"""Corpus: what is searched, and where the vectors of its documents are kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hfembed.corpus import Documents, locate_corpus
from hfembed.pull import read_corpus
from hfembed.recipe import Pull
from hfembed.resources import local_path, user_cache
from hfembed.run import LAYOUT, hash_json


@dataclass(frozen=True)
class Place:
    """A corpus that was found and not read yet: its key changes with its content."""

    name: str
    key: str
    cache: Path


@dataclass(frozen=True)
class Searched:
    """A corpus in memory. whole: nothing of it was left out."""

    place: Place
    documents: Documents
    whole: bool = True

    @cached_property
    def texts(self) -> list[str]:
        """The texts as they are embedded."""
        return self.documents.texts()

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each document by its id."""
        return {identity: row for row, identity in enumerate(self.documents.ids)}


def cache_folder() -> Path:
    """Return where embeddings live that belong to no run."""
    return user_cache() / LAYOUT.embeddings


def find_place(corpus: str) -> Place:
    """Find a finished run, or anything that `pull` reads; the Hub is asked for a dataset's newest commit."""
    run = local_path(corpus)
    if run is not None and (run / LAYOUT.documents).is_file():
        written = (run / LAYOUT.documents).stat()
        key = hash_json([str(run.resolve()), written.st_mtime_ns, written.st_size])
        return Place(corpus, key, run / LAYOUT.embeddings)
    source = locate_corpus(corpus)
    home = cache_folder() / hash_json([source.repo or str(source.folder)])[:16]
    return Place(corpus, source.fingerprint, home)


def read_place(place: Place, limit: int | None = None) -> Searched:
    """Read a corpus that was found, at most so many documents of it."""
    run = local_path(place.name)
    if run is not None and (run / LAYOUT.documents).is_file():
        return Searched(place, Documents.read(run / LAYOUT.documents))
    settings = Pull(limit=limit + 1 if limit else None)
    found = list(read_corpus(locate_corpus(place.name), settings))
    kept = found[:limit]
    return Searched(
        place,
        Documents(
            ids=[document.id for document in kept],
            titles=[document.title for document in kept],
            bodies=[document.text for document in kept],
            groups=[document.id for document in kept],
            documents=[document.id for document in kept],
        ),
        whole=len(kept) == len(found),
    )


def read_documents(corpus: str) -> tuple[Documents, Path]:
    """Return the documents of a corpus or of a finished run, and where their embeddings are kept."""
    found = read_place(find_place(corpus))
    return found.documents, found.place.cache
