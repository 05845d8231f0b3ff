"""Opened: an index that answers, by vectors and by words, and whose documents are read from disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hfembed.compare.corpus import OnDisk, Passage
from hfembed.embed import Precision
from hfembed.errors import InputError
from hfembed.events import Reporter
from hfembed.hub import ModelSource
from hfembed.index.build import Settings, build_index
from hfembed.index.manifest import State, read_manifest
from hfembed.index.search import Index
from hfembed.index.sources import body_of
from hfembed.index.store import TEXT, Scores
from hfembed.index.words import build_words
from hfembed.ranking import Vectors
from hfembed.recipe import Head
from hfembed.run import CACHE_LAYOUT, hash_json, write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class Opened:
    """An index that is open; what it answers is never all in memory."""

    def __init__(self, folder: Path, source: ModelSource | None = None) -> None:
        """Open the index in a folder. source: its model, where that has been found."""
        self._index, self._source, self._finding = Index(folder), source, threading.Lock()
        self._warm = False

    def __len__(self) -> int:
        """Return how many documents there are."""
        return self._index.manifest.documents

    @property
    def source(self) -> ModelSource:
        """The model that its documents were embedded with; looked for when it is needed, words need none."""
        with self._finding:
            if self._source is None:
                self._source = self._index.source
            return self._source

    def is_of(self, source: ModelSource) -> bool:
        """Tell whether a model is the one that its documents were embedded with; if so it is not looked for again."""
        if self._index.manifest.model.get("fingerprint") != source.fingerprint:
            return False
        with self._finding:
            self._source = self._source or source
        return True

    @property
    def precision(self) -> Precision:
        """The arithmetic that its documents were embedded in."""
        return Precision(self._index.manifest.precision)

    @property
    def share(self) -> float:
        """How much vectors count where they are joined with words; chosen when it was built."""
        return self._index.manifest.fusion.dense

    def is_warm(self) -> bool:
        """Tell whether it was asked anything yet; of a large one the first answer takes seconds."""
        return self._warm

    def nearest(self, vector: Vectors, count: int) -> Scores:
        """Return the nearest documents of a vector."""
        self._warm = True
        return self._index.store.nearest(vector, count, self._index.manifest.approximate)

    def by_words(self, query: str, count: int) -> Scores:
        """Return the best documents that share a word with a query."""
        return self._index.store.by_words(query, count)

    def vectors(self, numbers: Sequence[int]) -> Vectors:
        """Return the vectors of documents."""
        return self._index.store.vectors(numbers)

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """Return the ids of documents."""
        return [str(row["id"]) for row in self._index.store.rows(numbers, "id")]

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """Return documents as they are shown."""
        rows = self._index.store.rows(numbers, "id", "title", TEXT)
        return [Passage(row["id"], row["title"], body_of(row["title"], row[TEXT])) for row in rows]

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers of those of some documents that are there."""
        return self._index.store.numbers(ids)

    def spread(self, count: int) -> list[int]:
        """Return the numbers of so many documents, spread over all."""
        return self._index.store.spread(count)


def open_built(
    corpus: OnDisk,
    model: str,
    source: ModelSource,
    load: Callable[[ModelSource], SentenceTransformer],
    report: Reporter,
) -> Opened:
    """Open the index that a comparison keeps of a corpus under a model; build it, or bring it up to date, before."""
    folder = _indexes(corpus) / hash_json([source.fingerprint])[:16]
    if not _is_current(folder, corpus):
        if corpus.limit is not None and len(corpus) > corpus.limit:
            raise InputError(
                f"'{source.name}' has no index of these {len(corpus):,} documents, and more than {corpus.limit:,} are "
                "embedded by nobody here.",
                "Choose models that have one: index, or index:ORG/NAME; or bm25.",
            )
        # What is compared is the one vector of a text, and words.
        build_index(corpus.place.name, model, folder, Settings(heads=(Head.DENSE,)), report, load)
        _note(folder, corpus)
    return Opened(folder, source)


def open_words(corpus: OnDisk, report: Reporter) -> Opened:
    """Open any index that a comparison keeps of a corpus; where there is none its words alone are indexed."""
    for folder in _current(corpus):
        return Opened(folder)
    folder = _indexes(corpus) / CACHE_LAYOUT.words
    build_words(corpus.place, folder, report)
    _note(folder, corpus)
    return Opened(folder)


def _indexes(corpus: OnDisk) -> Path:
    return corpus.place.cache / CACHE_LAYOUT.indexes


def _current(corpus: OnDisk) -> Iterator[Path]:
    folders = sorted(_indexes(corpus).iterdir()) if _indexes(corpus).is_dir() else []
    return (folder for folder in folders if _is_current(folder, corpus))


def _is_current(folder: Path, corpus: OnDisk) -> bool:
    """Tell whether an index is whole, and of what the corpus holds now."""
    try:
        key = json.loads((folder / CACHE_LAYOUT.corpus).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    manifest = read_manifest(folder)
    return key == corpus.place.key and manifest is not None and manifest.state is State.DONE


def _note(folder: Path, corpus: OnDisk) -> None:
    write_json(folder / CACHE_LAYOUT.corpus, {"key": corpus.place.key})
