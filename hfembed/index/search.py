"""Searching an index: by vectors, by words, by both, and by heads; and saying why a document was found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hfembed.embed import Precision, Role, Vectors, encode, load_model
from hfembed.errors import InputError, ModelError, RunMismatchError, choices
from hfembed.heads import headed
from hfembed.hub import ModelSource
from hfembed.index.asking import HeadSearch
from hfembed.index.filters import Condition, all_of, parse_filter
from hfembed.index.fusion import PART_DEPTH, join
from hfembed.index.manifest import Mode, finished, read_place
from hfembed.index.sources import find_index, find_model
from hfembed.index.store import TEXT, Scores, Store, best_first
from hfembed.recipe import Head
from hfembed.stage import require
from hfembed.text import WORD

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class Part:
    """What one way of searching says of a document: no rank where others are the first, no score where it has none."""

    score: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Found:
    """What the ways of searching that were asked for find, and how they score what others of them found."""

    rankings: dict[str, Scores]
    scores: Mapping[str, Scores] = field(default_factory=dict)


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
        return load_model(self.source)

    @property
    def store(self) -> Store:
        """The table of its documents."""
        return self._store

    def search(
        self,
        query: str,
        count: int = 10,
        mode: Mode | None = None,
        filters: Sequence[str | Condition] = (),
        *,
        explain: bool = False,
    ) -> list[Hit]:
        """Return the best documents for a query, best first. filters: conditions that all of them meet.

        mode: what is compared; what the index found best where none is named. explain: say of each what every part of
        the search found, and which words it shares with the query.
        """
        if not query.strip():
            raise InputError("The query is empty.", 'hfembed search INDEX "your words"')
        if count < 1:
            raise InputError(f"--top is {count}, but must be at least 1.")
        mode = self.chosen(mode)
        conditions = [parse_filter(one) if isinstance(one, str) else one for one in filters]
        found = self._find(query, mode, max(count, PART_DEPTH), all_of(conditions), explain)
        return self._hits(query, best_first(found.rankings[mode], count), found, mode, explain)

    def chosen(self, mode: Mode | None) -> Mode:
        """Return what a search compares; refuse what the index holds nothing for."""
        held = self.manifest.modes
        if mode is not None and mode not in held:
            raise InputError(
                f"The index has nothing to compare by {mode}; it has {choices(held)}.",
                "Index with a model that has heads, as the preset neuromap trains them; --parts may have left them out.",
            )
        return mode or self.manifest.mode

    def _find(self, query: str, mode: Mode, depth: int, where: Any, explain: bool) -> Found:
        joined = Mode(self.manifest.fusion.joined)
        wanted = {joined, Mode.BM25} if mode is Mode.HYBRID else {mode}
        wanted |= set(self.manifest.modes if explain else ())
        found = self._meant(query, wanted, depth, where)
        if Mode.BM25 in wanted:
            found.rankings[Mode.BM25] = self._store.by_words(query, depth, where)
        if mode is Mode.HYBRID:
            share = self.manifest.fusion.share
            found.rankings[mode] = join(found.rankings[joined], found.rankings[Mode.BM25], share, depth)
        return found

    def _meant(self, query: str, wanted: set[Mode], depth: int, where: Any) -> Found:
        """Return what the model finds: by its one vector, or by its heads."""
        how = self.manifest.approximate
        if wanted & {Mode.MULTI_VECTOR, Mode.FUSED}:
            compared = self._heads.compare(self._heads.read(query), depth, how, where)
            return Found(dict(compared.rankings), compared.scores)
        if Mode.SPARSE in wanted:
            return Found({Mode.SPARSE: self._heads.shared(self._heads.read(query), depth, where)})
        if Mode.DENSE in wanted:
            return Found({Mode.DENSE: self._store.nearest(self.vector(query), depth, how, where)})
        return Found({})

    def vector(self, query: str) -> Vectors:
        """Return the vector of a query; it is kept nowhere."""
        if self.manifest.heads:
            return cast(Vectors, self._heads.read(query).vectors[0])
        vector: Vectors = encode(self.model, [query], Role.QUERY, Precision(self.manifest.precision))[0]
        return vector

    @cached_property
    def _heads(self) -> HeadSearch:
        weights = {Head(head): weight for head, weight in self.manifest.heads.items()}
        model = headed(self.model, self.source.path, weights)
        return HeadSearch(self._store, self._folder, weights, model, Precision(self.manifest.precision))

    def _hits(self, query: str, best: list[int], found: Found, mode: Mode, explain: bool) -> list[Hit]:
        rows = self._store.rows(best, "id", "title", TEXT, "group", "document")
        ranks = {
            name: {number: rank for rank, number in enumerate(best_first(scores, len(scores)), 1)}
            for name, scores in (found.rankings if explain else {}).items()
        }
        scored = {**found.rankings, **found.scores}
        stems = frozenset(self._store.tokens(query)) if explain else frozenset()
        hits = []
        for rank, (number, row) in enumerate(zip(best, rows, strict=True), 1):
            why = {name: Part(scored[name].get(number), ranks[name].get(number)) for name in ranks}
            words = self._matching(stems, row[TEXT]) if explain else ()
            row[TEXT] = row[TEXT].removeprefix(row["title"]).strip() or row[TEXT]
            hits.append(Hit(rank, found.rankings[mode][number], **row, parts=why, words=words))
        return hits

    def _matching(self, stems: frozenset[str], text: str) -> tuple[str, ...]:
        """Return the words of a text that the full-text index takes for words of the query."""
        words = dict.fromkeys(word.lower() for word in WORD.findall(text))
        return tuple(word for word in words if stems.intersection(self._store.tokens(word)))

    @cached_property
    def source(self) -> ModelSource:
        """The model that the documents were embedded with, found again; any other is refused."""
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
