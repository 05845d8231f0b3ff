"""Library: models and corpora in memory, within bounds, and the rankings that come of them. Threads may share one."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from hfembed.compare.contender import Contender
from hfembed.compare.corpus import Place, Searched, find_place, read_place
from hfembed.compare.queries import Queries, known_queries
from hfembed.compare.shelf import Shelf
from hfembed.compare.words import WordIndex
from hfembed.embed import Embedder, Precision, Role, encode, load_model
from hfembed.events import Reporter, silent
from hfembed.hub import ModelSource, stored_token
from hfembed.ranking import Ranker, Rows, Vectors, fuse
from hfembed.resources import local_path
from hfembed.run import hash_json
from hfembed.stage import locate_encoder, require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# How many documents of a search the other one is joined with: as deep as `evaluate` looks.
DEPTH = 100
MODELS, MODEL_BYTES = 3, 4 << 30
CORPORA, CORPUS_BYTES = 6, 512 << 20
VECTORS, VECTOR_BYTES = 18, 512 << 20
# How many corpora are encoded at a time; who asks for others waits, and who asks for what is there does not.
TURNS = 2
FIRST_TEXT = "a first text"
# So many queries are encoded by one thread.
FEW = 8
# What the Hub said of an id is asked again after this long, and for everybody who asks: who may see it, and its newest
# commit, can change.
FRESH_SECONDS, PLACES = 600, 256


@dataclass(frozen=True)
class Encoded:
    """The documents of a corpus under a model, and how queries are to be encoded for them."""

    source: ModelSource
    vectors: Vectors
    precision: Precision


@dataclass(frozen=True)
class Found:
    """What one search found for one query, best first; seconds: with the encoding of the query."""

    rows: Rows
    scores: Vectors
    seconds: float


class Library:
    """Models and corpora, loaded once and shared."""

    def __init__(
        self,
        encode_documents: Callable[[ModelSource, list[str], Path], None] | None = None,
        device: str | None = None,
        models: int = MODELS,
        corpora: int = CORPORA,
    ) -> None:
        """Keep at most so many models and corpora.

        encode_documents: fills the store of a model instead of the model in memory. device: where models compute.
        """
        self._encode_documents, self._device = encode_documents, device
        self.models: Shelf[SentenceTransformer] = Shelf(models, MODEL_BYTES, _model_bytes)
        self.corpora: Shelf[Searched] = Shelf(corpora, CORPUS_BYTES, _corpus_bytes)
        self.indexes: Shelf[WordIndex] = Shelf(corpora)
        self.vectors: Shelf[Encoded] = Shelf(VECTORS, VECTOR_BYTES, _vector_bytes)
        self._known: Shelf[Queries] = Shelf(corpora)
        self._turns = threading.BoundedSemaphore(TURNS)
        self._sources: Shelf[ModelSource] = Shelf(PLACES)
        self._places: Shelf[Place] = Shelf(PLACES)

    def corpus(self, name: str, limit: int | None = None) -> Searched:
        """Return a corpus: a finished run, or anything that `pull` reads, up to a number of documents."""
        place = find_place(name) if local_path(name) else self._places.get(_asked(name), lambda: find_place(name))
        return self.corpora.get((place.key, limit), lambda: read_place(place, limit))

    def known(self, corpus: Searched) -> Queries:
        """Return the queries whose answers a corpus knows."""
        return self._known.get(corpus.place.key, lambda: known_queries(corpus.place.name))

    def source(self, name: str) -> ModelSource:
        """Return where a model is."""
        require("train", "torch", "sentence_transformers")
        folder = local_path(name)
        key = (str(folder.resolve()), _newest(folder)) if folder is not None else _asked(name)
        return self._sources.get(key, lambda: locate_encoder(name))

    def model(self, source: ModelSource) -> SentenceTransformer:
        """Return a model that is ready to encode."""
        return self.models.get(source.fingerprint, lambda: self._load(source))

    def encoded(self, model: str, corpus: Searched, report: Reporter | None = None) -> Encoded:
        """Return a corpus under a model; what was never encoded is encoded first, and kept beside the corpus."""
        source = self.source(model)
        key = (source.fingerprint, corpus.place.key, len(corpus.documents))
        return self.vectors.get(key, lambda: self._encode(source, corpus, report or silent()))

    def words(self, corpus: Searched) -> WordIndex:
        """Return the BM25 index of a corpus."""
        key = (corpus.place.key, len(corpus.documents))
        return self.indexes.get(key, lambda: WordIndex(corpus.texts))

    def prepare(self, contender: Contender, corpus: Searched, report: Reporter | None = None) -> None:
        """Load all that a search needs, so that it answers at once."""
        if contender.words:
            self.words(corpus)
        if contender.model is not None:
            encoded = self.encoded(contender.model, corpus, report)
            if encoded.source.fingerprint not in self.models:
                # The first text a model encodes takes many times as long as the next, and is nobody's query.
                encode(self.model(encoded.source), [FIRST_TEXT], Role.QUERY, encoded.precision)

    def search(
        self,
        contender: Contender,
        corpus: Searched,
        queries: Sequence[str],
        count: int,
        report: Reporter | None = None,
    ) -> list[Found]:
        """Return what a contender finds for each of the queries."""
        self.prepare(contender, corpus, report)
        if contender.model is None:
            return [self._by_words(corpus, query, count) for query in queries]
        if not contender.words:
            return self._by_vectors(contender.model, corpus, queries, count)
        dense = self._by_vectors(contender.model, corpus, queries, max(count, DEPTH))
        lexical = [self._by_words(corpus, query, max(count, DEPTH)) for query in queries]
        return [_join(first, second, count) for first, second in zip(dense, lexical, strict=True)]

    def query_vectors(self, model: str, corpus: Searched, queries: Sequence[str]) -> Vectors:
        """Return the unit vectors of queries; they are kept nowhere."""
        encoded = self.encoded(model, corpus)
        model_here = self.model(encoded.source)
        with _computing_with(1 if len(queries) <= FEW else _usual_threads()):
            return encode(model_here, queries, Role.QUERY, encoded.precision)

    def _by_vectors(self, model: str, corpus: Searched, queries: Sequence[str], count: int) -> list[Found]:
        started = time.perf_counter()
        asked = self.query_vectors(model, corpus, queries)
        rows, scores = Ranker(self.encoded(model, corpus).vectors, device=self._device).top(asked, count)
        each = (time.perf_counter() - started) / max(1, len(queries))
        return [Found(*found, each) for found in zip(rows, scores, strict=True)]

    def _by_words(self, corpus: Searched, query: str, count: int) -> Found:
        started = time.perf_counter()
        rows, scores = self.words(corpus).top(query, count)
        return Found(rows, scores, time.perf_counter() - started)

    def _load(self, source: ModelSource) -> SentenceTransformer:
        _usual_threads()
        model = load_model(source)
        return model.to(self._device) if self._device else model

    def _encode(self, source: ModelSource, corpus: Searched, report: Reporter) -> Encoded:
        folder, texts = corpus.place.cache, corpus.texts
        folder.mkdir(parents=True, exist_ok=True)
        embedder = Embedder(source, folder, report, load=self.model)
        # Two that write to one store would spoil it, and the other may be another process.
        with FileLock(folder / f"{hash_json([source.fingerprint])[:16]}.lock"):
            if embedder.lacks(texts):
                with self._turns, _computing_with(_usual_threads()):
                    if self._encode_documents is not None:
                        self._encode_documents(source, texts, folder)
                    vectors = embedder.documents(texts)
            else:
                vectors = embedder.documents(texts)
        return Encoded(source, vectors, Precision(embedder.precision(texts)["precision"]))


@lru_cache(maxsize=1)
def _usual_threads() -> int:
    """Return with how many threads torch computes where nobody says otherwise: asked before anybody does."""
    import torch

    return torch.get_num_threads()


@contextmanager
def _computing_with(threads: int) -> Iterator[None]:
    """Compute with so many threads in this one, for a while.

    Threads that share a few words among them mostly wait for one another: on a busy machine, ten times as long.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _join(first: Found, second: Found, count: int) -> Found:
    started = time.perf_counter()
    joined = fuse([dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True)) for found in (first, second)])
    best = sorted(joined, key=lambda row: (-joined[row], row))[:count]
    scores = np.array([joined[row] for row in best], dtype=np.float32)
    took = first.seconds + second.seconds + time.perf_counter() - started
    return Found(np.array(best, dtype=np.int64), scores, took)


def _asked(name: str) -> tuple[str, str, int]:
    """Return the key of what the Hub is asked: a name, by whom, and since when the answer counts."""
    who = hashlib.sha256((stored_token() or "").encode()).hexdigest()
    return name, who, int(time.monotonic() // FRESH_SECONDS)


def _newest(folder: Path) -> tuple[int, int]:
    files = [file.stat() for file in folder.rglob("*") if file.is_file()]
    return len(files), max((file.st_mtime_ns for file in files), default=0)


def _model_bytes(model: SentenceTransformer) -> int:
    return sum(weights.numel() * weights.element_size() for weights in model.parameters())


def _corpus_bytes(corpus: Searched) -> int:
    return sum(len(text) for text in corpus.documents.bodies) * 2  # the texts stand there with and without a title


def _vector_bytes(encoded: Encoded) -> int:
    return 0 if isinstance(encoded.vectors, np.memmap) else encoded.vectors.nbytes
