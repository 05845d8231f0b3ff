"""compare: one query, one corpus, several models side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfembed.corpus import Documents, join_title, locate_corpus
from hfembed.embed import Embedder
from hfembed.errors import InputError
from hfembed.events import Reporter, silent
from hfembed.hub import locate_model
from hfembed.pull import read_corpus
from hfembed.ranking import Rows, Vectors, top_scored
from hfembed.recipe import Pull
from hfembed.resources import user_cache
from hfembed.run import LAYOUT
from hfembed.stage import require

BM25 = "bm25"


@dataclass(frozen=True)
class Hit:
    """One ranked document; `moved` is how many places it rose against the first model."""

    rank: int
    id: str
    title: str
    text: str
    score: float
    moved: int | None


@dataclass(frozen=True)
class Ranking:
    """What one model answers."""

    model: str
    milliseconds: float
    hits: list[Hit]


def compare(
    models: Sequence[str], corpus: str, query: str, count: int = 10, report: Reporter | None = None
) -> list[Ranking]:
    """Rank the corpus for a query under each model.

    models: folders, runs, Hub ids, or "bm25". corpus: anything `pull` reads, or a finished run.
    """
    if not query.strip():
        raise InputError("The query is empty.", 'Name one: --query "your question"')
    documents, cache = read_documents(corpus)
    texts = [join_title(title, body) for title, body in zip(documents.titles, documents.bodies, strict=True)]
    rankings: list[Ranking] = []
    for name in models:
        rows, scores, seconds = _rank(name, texts, query, min(count, len(texts)), cache, report or silent())
        before = {hit.id: hit.rank for hit in rankings[0].hits} if rankings else {}
        hits = [
            _hit(documents, int(row), float(score), rank, before if rankings else None)
            for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1)
        ]
        rankings.append(Ranking(name, round(seconds * 1000, 1), hits))
    return rankings


def to_json(rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """Return rankings as `--format json` prints them."""
    return [asdict(ranking) for ranking in rankings]


def cache_folder() -> Path:
    """Return where embeddings live that belong to no run."""
    return user_cache() / LAYOUT.embeddings


def read_documents(corpus: str) -> tuple[Documents, Path]:
    """Return the documents of a corpus or of a finished run, and where their embeddings are kept."""
    run = Path(corpus).expanduser()
    if (run / LAYOUT.documents).is_file():
        return Documents.read(run / LAYOUT.documents), run / LAYOUT.embeddings
    documents = list(read_corpus(locate_corpus(corpus), Pull()))
    return (
        Documents(
            ids=[document.id for document in documents],
            titles=[document.title for document in documents],
            bodies=[document.text for document in documents],
            groups=[document.id for document in documents],
            documents=[document.id for document in documents],
        ),
        cache_folder(),
    )


def _rank(
    name: str, texts: list[str], query: str, count: int, cache: Path, report: Reporter
) -> tuple[Rows, Vectors, float]:
    if name.lower() == BM25:
        return _rank_bm25(texts, query, count)
    require("train", "torch", "sentence_transformers")
    folder = Path(name).expanduser()
    inside = folder / LAYOUT.model if (folder / LAYOUT.recipe).is_file() else folder
    embedder = Embedder(locate_model(str(inside) if inside.exists() else name), cache, report)
    documents = embedder.documents(texts)
    started = time.perf_counter()
    rows, scores = top_scored(embedder.queries([query]), documents, count)
    return rows[0], scores[0], time.perf_counter() - started


def _rank_bm25(texts: list[str], query: str, count: int) -> tuple[Rows, Vectors, float]:
    import bm25s

    index = bm25s.BM25(method="lucene")
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    started = time.perf_counter()
    words = bm25s.tokenize([query], stopwords="en", show_progress=False)
    rows, scores = index.retrieve(words, k=count, show_progress=False)
    found = scores[0] > 0  # a document without any of the words is no answer
    return np.asarray(rows[0][found], dtype=np.int64), np.asarray(scores[0][found]), time.perf_counter() - started


def _hit(documents: Documents, row: int, score: float, rank: int, before: dict[str, int] | None) -> Hit:
    identity = documents.ids[row]
    moved = None if before is None or identity not in before else before[identity] - rank
    return Hit(rank, identity, documents.titles[row], documents.bodies[row], round(score, 5), moved)
