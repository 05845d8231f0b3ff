"""Searching an index: by vectors, by words, and by both; and saying why a document was found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfembed.embed import Precision, Role, Vectors, encode, load_model
from hfembed.errors import InputError, ModelError, RunMismatchError
from hfembed.hub import ModelSource
from hfembed.index.filters import Condition, all_of, parse_filter
from hfembed.index.fusion import PART_DEPTH, join
from hfembed.index.manifest import finished, read_place
from hfembed.index.sources import find_index, find_model
from hfembed.index.store import TEXT, Scores, Store, best_first
from hfembed.stage import require
from hfembed.text import WORD

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class Mode(StrEnum):
    """What is compared."""

    DENSE = "dense"
    BM25 = "bm25"
    HYBRID = "hybrid"


@dataclass(frozen=True)
class Part:
    """What one way of searching says of a document; both are missing where it did not find it."""

    score: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Hit:
    """A document that was found. parts, words: why, where that was asked for; words as the document writes them."""

    rank: int
    score: float
    id: str
    title: str
    text: str
    group: str
    document: str
    parts: Mapping[str, Part] = field(default_factory=dict)
    words: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the reasons only where there are some."""
        values = asdict(self)
        return values if self.parts else {name: values[name] for name in values if name not in ("parts", "words")}


class Index:
    """An index that was built, ready to be asked."""

    def __init__(self, folder: Path, model: str | None = None) -> None:
        """Open the index in `folder`. model: where its model is, where that is not known."""
        require("index", "lancedb")
        self._folder, self._named = folder, model
        self.manifest = finished(folder)
        self._store = Store(folder, self.manifest.similarity)

    @classmethod
    def open(cls, name: str, model: str | None = None) -> Index:
        """Open an index: a folder, or a dataset repo of the Hub (`org/name[@revision]`), which is downloaded."""
        return cls(find_index(name), model)

    @cached_property
    def model(self) -> SentenceTransformer:
        """The model that the documents were embedded with; any other is refused."""
        require("train", "torch", "sentence_transformers")
        return load_model(self.source())

    @property
    def store(self) -> Store:
        """The table of its documents."""
        return self._store

    def search(
        self,
        query: str,
        count: int = 10,
        mode: Mode = Mode.HYBRID,
        filters: Sequence[str | Condition] = (),
        *,
        explain: bool = False,
    ) -> list[Hit]:
        """Return the best documents for a query, best first. filters: conditions that all of them meet.

        explain: say of each what every part of the search found, and which words it shares with the query.
        """
        if not query.strip():
            raise InputError("The query is empty.", 'hfembed search INDEX "your words"')
        if count < 1:
            raise InputError(f"--top is {count}, but must be at least 1.")
        conditions = [parse_filter(one) if isinstance(one, str) else one for one in filters]
        where = all_of(conditions)
        depth = max(count, PART_DEPTH)
        parts: dict[str, Scores] = {}
        if mode is not Mode.BM25 or explain:
            vector = self.vector(query)
            parts[Mode.DENSE] = self._store.nearest(vector, depth, self.manifest.approximate, where)
        if mode is not Mode.DENSE or explain:
            parts[Mode.BM25] = self._store.by_words(query, depth, where)
        if mode is Mode.HYBRID:
            parts[mode] = join(parts[Mode.DENSE], parts[Mode.BM25], self.manifest.fusion.dense, depth)
        best = best_first(parts[mode], count)
        return self._hits(query, best, parts, mode, explain)

    def vector(self, query: str) -> Vectors:
        """Return the vector of a query; it is kept nowhere."""
        vector: Vectors = encode(self.model, [query], Role.QUERY, Precision(self.manifest.precision))[0]
        return vector

    def _hits(self, query: str, best: list[int], parts: dict[str, Scores], mode: Mode, explain: bool) -> list[Hit]:
        rows = self._store.rows(best, "id", "title", TEXT, "group", "document")
        ranks = {
            name: {number: rank for rank, number in enumerate(best_first(scores, len(scores)), 1)}
            for name, scores in (parts if explain else {}).items()
        }
        stems = frozenset(self._store.tokens(query)) if explain else frozenset()
        hits = []
        for rank, (number, row) in enumerate(zip(best, rows, strict=True), 1):
            why = {name: Part(parts[name].get(number), ranks[name].get(number)) for name in ranks}
            words = self._matching(stems, row[TEXT]) if explain else ()
            row[TEXT] = row[TEXT].removeprefix(row["title"]).strip() or row[TEXT]
            hits.append(Hit(rank, parts[mode][number], **row, parts=why, words=words))
        return hits

    def _matching(self, stems: frozenset[str], text: str) -> tuple[str, ...]:
        """Return the words of a text that the full-text index takes for words of the query."""
        words = dict.fromkeys(word.lower() for word in WORD.findall(text))
        return tuple(word for word in words if stems.intersection(self._store.tokens(word)))

    def source(self) -> ModelSource:
        """Find the model that the documents were embedded with; refuse any other."""
        known = self.manifest.model
        published = f"{known['name']}@{known['revision']}" if known.get("revision") else str(known["name"])
        # A revision is found by its name, wherever the newest is by now; not so a recipe's use of a model.
        is_pinned = known.get("revision") and not known.get("encoder")
        name = self._named or (None if is_pinned else read_place(self._folder)) or published
        try:
            _, source = find_model(name)
        except ModelError as error:
            raise ModelError(
                f"The model of the index, '{known['name']}', is not where it was: {error.message}",
                "Say where it is: --model MODEL",
            ) from error
        if source.fingerprint != known.get("fingerprint"):
            raise RunMismatchError(
                f"The index is of the model '{known['name']}', and '{name}' is another or has changed: vectors of two "
                "models cannot be compared.",
                "Name the same with --model, or index again: hfembed index CORPUS --model MODEL --out DIR --force",
            )
        return source


def passage(hit: Hit, query: str, length: int) -> str:
    """Return the part of a document that has most words of the query, on one line."""
    from hfembed.compare.words import best_window

    start, end = best_window(query, hit.text, length)
    text = re.sub(r"\s+", " ", hit.text[start:end]).strip()
    return ("… " if start else "") + text + (" …" if end < len(hit.text) else "")
