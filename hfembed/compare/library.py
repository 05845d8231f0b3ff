"""Library: models and corpora, in memory within bounds, and the rankings that come of them. Threads may share one.

A corpus that is large, or an index, stays on disk, and indexes answer for it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from hfembed.compare.contender import Contender
from hfembed.compare.corpus import OnDisk, Place, Readable, Searched, find_place, open_corpus, read_place
from hfembed.compare.opened import Opened, open_built, open_words
from hfembed.compare.queries import Queries, known_queries
from hfembed.compare.shelf import Shelf
from hfembed.compare.threads import computing_with, usual_threads
from hfembed.compare.words import WordIndex
from hfembed.embed import Embedder, Precision, Role, encode, load_model
from hfembed.errors import InputError
from hfembed.events import Reporter, silent
from hfembed.hub import ModelSource, stored_token
from hfembed.index.fusion import DEFAULT, PART_DEPTH, join
from hfembed.index.sources import find_index
from hfembed.index.store import Scores, best_first
from hfembed.ranking import Ranker, Rows, Vectors
from hfembed.resources import local_path
from hfembed.run import hash_json
from hfembed.stage import locate_encoder, require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODELS, MODEL_BYTES = 3, 4 << 30
CORPORA, CORPUS_BYTES = 6, 512 << 20
VECTORS, VECTOR_BYTES = 18, 512 << 20
# What an open index holds in memory is bounded for all of them together (`hfembed/index/store.py`).
INDEXES = 18
WORDS = "words"
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
    """What one search found for one query, best first; seconds: with the encoding of the query.

    where: what the rows are rows of.
    """

    rows: Rows
    scores: Vectors
    seconds: float
    where: Readable


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
        self.corpora: Shelf[Searched | OnDisk] = Shelf(corpora, CORPUS_BYTES, _corpus_bytes)
        self.opened: Shelf[Opened] = Shelf(INDEXES)
        self.indexes: Shelf[WordIndex] = Shelf(corpora)
        self.vectors: Shelf[Encoded] = Shelf(VECTORS, VECTOR_BYTES, _vector_bytes)
        self._known: Shelf[Queries] = Shelf(corpora)
        self._turns = threading.BoundedSemaphore(TURNS)
        self._sources: Shelf[ModelSource] = Shelf(PLACES)
        self._places: Shelf[Place] = Shelf(PLACES)

    def corpus(self, name: str, limit: int | None = None, report: Reporter | None = None) -> Searched | OnDisk:
        """Return a corpus: a finished run, an index, or anything that `pull` reads, up to a number of documents."""
        place = self._place(name)
        return self.corpora.get((place.key, limit), lambda: open_corpus(place, limit, report))

    def readable(self, corpus: Searched | OnDisk, report: Reporter | None = None) -> Readable:
        """Return where the documents of a corpus are read."""
        return corpus if isinstance(corpus, Searched) else self._any_index(corpus, report)

    def known(self, corpus: Searched | OnDisk) -> Queries:
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
        """Return the BM25 index of a corpus in memory."""
        key = (corpus.place.key, len(corpus.documents))
        return self.indexes.get(key, lambda: WordIndex(corpus.texts))

    def index(self, name: str) -> Opened:
        """Open an index: a folder, or a dataset repo of the Hub."""
        return self._named_index(self._place(name))

    def index_of(
        self, contender: Contender, corpus: Searched | OnDisk, report: Reporter | None = None
    ) -> Opened | None:
        """Return the index that answers for a contender; none where all that it needs is in memory."""
        if contender.index is not None:
            return self.index(contender.index)
        if isinstance(corpus, Searched):
            return None
        if contender.model is None:
            return self._any_index(corpus, report)
        source = self.source(contender.model)
        if corpus.place.is_index and (own := self._named_index(corpus.place)).is_of(source):
            return own
        key = (corpus.place.key, source.fingerprint)
        return self.opened.get(key, lambda: self._build(corpus, str(contender.model), source, report or silent()))

    def prepare(self, contender: Contender, corpus: Searched | OnDisk, report: Reporter | None = None) -> None:
        """Load all that a search needs, so that it answers at once."""
        opened = self.index_of(contender, corpus, report)
        if contender.words and opened is None and isinstance(corpus, Searched):
            self.words(corpus)
        if contender.has_vectors:
            found = opened if opened is not None else self._encoded(contender, corpus, report)
            is_cold = opened is not None and not opened.is_warm()
            if is_cold or found.source.fingerprint not in self.models:
                # The first text a model encodes takes many times as long as the next, and is nobody's query.
                vector = encode(self.model(found.source), [FIRST_TEXT], Role.QUERY, found.precision)[0]
                if opened is not None:
                    opened.nearest(vector, PART_DEPTH)

    def prepare_all(
        self, contenders: Sequence[Contender], corpus: Searched | OnDisk, report: Reporter | None = None
    ) -> None:
        """Prepare several; models first: what is indexed for one of them has words for those without."""
        for contender in sorted(contenders, key=lambda one: not one.has_vectors):
            self.prepare(contender, corpus, report)

    def search(
        self,
        contender: Contender,
        corpus: Searched | OnDisk,
        queries: Sequence[str],
        count: int,
        report: Reporter | None = None,
    ) -> list[Found]:
        """Return what a contender finds for each of the queries."""
        self.prepare(contender, corpus, report)
        opened, depth = self.index_of(contender, corpus, report), max(count, PART_DEPTH)
        started = time.perf_counter()
        parts: list[list[Scores]] = []
        if contender.has_vectors:
            wanted = depth if contender.words else count
            parts.append(self._by_vectors(contender, corpus, opened, queries, wanted))
        if contender.words:
            # Many documents score alike by words: which of them come first must not depend on how many are shown.
            parts.append(self._by_words(corpus, opened, queries, depth))
        share = opened.share if opened is not None else DEFAULT.dense
        scores = parts[0]
        if len(parts) > 1:
            scores = [join(dense, words, share, depth) for dense, words in zip(*parts, strict=True)]
        each = (time.perf_counter() - started) / max(1, len(queries))
        where = opened if opened is not None else self.readable(corpus)
        return [_found(one, count, each, where) for one in scores]

    def query_vectors(self, contender: Contender, corpus: Searched | OnDisk, queries: Sequence[str]) -> Vectors:
        """Return the unit vectors of queries under a contender's model; they are kept nowhere."""
        opened = self.index_of(contender, corpus)
        found = opened if opened is not None else self._encoded(contender, corpus)
        model = self.model(found.source)
        with computing_with(1 if len(queries) <= FEW else usual_threads()):
            return encode(model, queries, Role.QUERY, found.precision)

    def _place(self, name: str) -> Place:
        return find_place(name) if local_path(name) else self._places.get(_asked(name), lambda: find_place(name))

    def _named_index(self, place: Place) -> Opened:
        if not place.is_index:
            raise InputError(
                f"'{place.name}' is no index.", f"hfembed index CORPUS --model MODEL --out {place.name} builds one."
            )
        return self.opened.get((place.key, None), lambda: Opened(find_index(place.name)))

    def _any_index(self, corpus: OnDisk, report: Reporter | None = None) -> Opened:
        """Return an index of a corpus, whatever its model: its words and documents are the same in all."""
        if corpus.place.is_index:
            return self._named_index(corpus.place)
        return self.opened.get((corpus.place.key, WORDS), lambda: open_words(corpus, report or silent()))

    def _build(self, corpus: OnDisk, model: str, source: ModelSource, report: Reporter) -> Opened:
        if self._encode_documents is not None and len(corpus) <= (corpus.limit or 0):
            self._encode(source, read_place(corpus.place), report)  # so that the build finds them encoded
        with self._turns, computing_with(usual_threads()):
            return open_built(corpus, model, source, self.model, report)

    def _encoded(self, contender: Contender, corpus: Searched | OnDisk, report: Reporter | None = None) -> Encoded:
        assert contender.model is not None and isinstance(corpus, Searched)
        return self.encoded(contender.model, corpus, report)

    def _by_vectors(
        self,
        contender: Contender,
        corpus: Searched | OnDisk,
        opened: Opened | None,
        queries: Sequence[str],
        count: int,
    ) -> list[Scores]:
        asked = self.query_vectors(contender, corpus, queries)
        if opened is not None:
            return [opened.nearest(vector, count) for vector in asked]
        vectors = self._encoded(contender, corpus).vectors
        return [_scores(*found) for found in zip(*Ranker(vectors, device=self._device).top(asked, count), strict=True)]

    def _by_words(
        self, corpus: Searched | OnDisk, opened: Opened | None, queries: Sequence[str], count: int
    ) -> list[Scores]:
        if opened is not None:
            return [opened.by_words(query, count) for query in queries]
        assert isinstance(corpus, Searched)
        return [_scores(*self.words(corpus).top(query, count)) for query in queries]

    def _load(self, source: ModelSource) -> SentenceTransformer:
        usual_threads()
        model = load_model(source)
        return model.to(self._device) if self._device else model

    def _encode(self, source: ModelSource, corpus: Searched, report: Reporter) -> Encoded:
        folder, texts = corpus.place.cache, corpus.texts
        folder.mkdir(parents=True, exist_ok=True)
        embedder = Embedder(source, folder, report, load=self.model)
        # Two that write to one store would spoil it, and the other may be another process.
        with FileLock(folder / f"{hash_json([source.fingerprint])[:16]}.lock"):
            if embedder.lacks(texts):
                with self._turns, computing_with(usual_threads()):
                    if self._encode_documents is not None:
                        self._encode_documents(source, texts, folder)
                    vectors = embedder.documents(texts)
            else:
                vectors = embedder.documents(texts)
        return Encoded(source, vectors, Precision(embedder.precision(texts)["precision"]))


def _scores(rows: Rows, scores: Vectors) -> Scores:
    return dict(zip(rows.tolist(), scores.tolist(), strict=True))


def _found(scores: Scores, count: int, seconds: float, where: Readable) -> Found:
    best = best_first(scores, count)
    chosen = np.array([scores[row] for row in best], dtype=np.float32)
    return Found(np.array(best, dtype=np.int64), chosen, seconds, where)


def _asked(name: str) -> tuple[str, str, int]:
    """Return the key of what the Hub is asked: a name, by whom, and since when the answer counts."""
    who = hashlib.sha256((stored_token() or "").encode()).hexdigest()
    return name, who, int(time.monotonic() // FRESH_SECONDS)


def _newest(folder: Path) -> tuple[int, int]:
    files = [file.stat() for file in folder.rglob("*") if file.is_file()]
    return len(files), max((file.st_mtime_ns for file in files), default=0)


def _model_bytes(model: SentenceTransformer) -> int:
    return sum(weights.numel() * weights.element_size() for weights in model.parameters())


def _corpus_bytes(corpus: Searched | OnDisk) -> int:
    if isinstance(corpus, OnDisk):
        return 0
    return sum(len(text) for text in corpus.documents.bodies) * 2  # the texts stand there with and without a title


def _vector_bytes(encoded: Encoded) -> int:
    return 0 if isinstance(encoded.vectors, np.memmap) else encoded.vectors.nbytes
