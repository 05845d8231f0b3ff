"""Who finds a passage again: a frozen retriever and BM25, among a frozen set of documents."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfembed.corpus import Documents
from hfembed.embed import Embedder, Precision, Role, encode
from hfembed.events import Reporter
from hfembed.generate.round_trip import Found, Words, find, same_texts
from hfembed.hub import ModelSource
from hfembed.ranking import Rows, Vectors, top_scored

# A corpus of so many documents is ranked as a whole; of a larger one a draw, the rest of each passage's source,
# and those that share most words with it.
WHOLE, DRAWN, SIMILAR = 20_000, 5_000, 50
# Ranks are looked up down to here.
DEPTH = 100


@dataclass(frozen=True)
class Pool:
    """The documents that are ranked: by id the place of each, and a number for its text, equal for twins."""

    texts: list[str]
    place: dict[str, int]
    same: Rows


def choose_pool(
    documents: Documents, sources: set[str], seed: int, whole: int = WHOLE, drawn: int = DRAWN, similar: int = SIMILAR
) -> Pool:
    """Return what the passages with the ids `sources` are ranked among; drawn once, so that rewards compare."""
    texts = documents.texts()
    rows = list(range(len(documents)))
    if len(documents) > whole:
        own = [row for row in rows if documents.ids[row] in sources]
        origins = {documents.documents[row] for row in own}
        near, _ = Words(texts).top([texts[row] for row in own], similar)
        chosen = {row for row in rows if documents.documents[row] in origins} | set(near.ravel().tolist())
        rows = sorted(chosen | set(random.Random(seed).sample(rows, min(drawn, len(rows)))))
    kept = [texts[row] for row in rows]
    return Pool(kept, {documents.ids[row]: at for at, row in enumerate(rows)}, same_texts(kept))


class ByMeaning:
    """A frozen embedding model: it ranks, and nothing that is learned here changes it."""

    def __init__(self, source: ModelSource, embeddings: Path, pool: Pool, report: Reporter) -> None:
        """Rank the pool; vectors that the run has are not computed again."""
        embedder = Embedder(source, embeddings, report)
        self._pool = pool
        self._vectors = embedder.documents(pool.texts)
        self._precision = Precision(embedder.precision(pool.texts)["precision"])
        self.model = embedder.model.requires_grad_(False)

    def find(self, queries: Sequence[str], ids: Sequence[str]) -> list[Found]:
        """Return where each query's own passage stands."""
        # Not through the store of the run: drafts come once and never again.
        asked = encode(self.model, list(queries), Role.QUERY, self._precision)
        return _find(self._pool, ids, *top_scored(np.asarray(asked), self._vectors, _depth(self._pool)))


class ByWords:
    """BM25 over the same documents."""

    def __init__(self, pool: Pool) -> None:
        """Index the pool."""
        self._pool, self._words = pool, Words(pool.texts)

    def find(self, queries: Sequence[str], ids: Sequence[str]) -> list[Found]:
        """Return where each query's own passage stands; nowhere, where they share no word."""
        return _find(self._pool, ids, *self._words.top(list(queries), _depth(self._pool)))


def _depth(pool: Pool) -> int:
    return min(DEPTH, len(pool.texts))


def _find(pool: Pool, ids: Sequence[str], rows: Rows, scores: Vectors) -> list[Found]:
    return [find([pool.place[name]], rows[at], scores[at], pool.same) for at, name in enumerate(ids)]
