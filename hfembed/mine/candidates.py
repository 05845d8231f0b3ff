"""Candidates: the documents nearest to every query, from all sources, found block by block."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hfembed import engine
from hfembed.events import Reporter
from hfembed.mine.asked import Asked
from hfembed.mine.journal import Journal
from hfembed.mine.lexical import Lexical
from hfembed.mine.space import CANDIDATE, Candidates, Space
from hfembed.ranking import NOBODY, QUERY_BLOCK, Pairs, Ranker, Rows, Vectors, exact_scores

DOCUMENTS = "documents.npy"


class Block(NamedTuple):
    """A few queries: their vectors and texts, and the documents that are never their negatives."""

    vectors: Vectors
    texts: list[str]
    excluded: Pairs


def width_of(candidates: int, sources: int, documents: int) -> int:
    """Return how many candidates a query can have."""
    return min(candidates, documents) * sources


def find_candidates(
    asked: Asked,
    vectors: Space,
    ranker: Ranker | None,
    lexical: Lexical | None,
    count: int,
    journal: Journal,
    report: Reporter,
) -> Candidates:
    """Return the candidates of every query, nearest first, as a memory map of the journal."""
    works = engine.current()
    task = report.task("looking for negatives", len(asked), "queries")
    task.advance(journal.count)
    starts = range(journal.count, len(asked), QUERY_BLOCK)
    blocks = (_block(asked, vectors, start, min(start + QUERY_BLOCK, len(asked))) for start in starts)
    with tempfile.TemporaryDirectory(dir=journal.folder) as folder:
        finding = Finding(vectors.documents, ranker, lexical, min(count, len(vectors.documents)))
        if works.spreads and len(starts) > 1:
            finding.lay_out(Path(folder))
        for found in works.map(finding, blocks, len(starts), report):
            journal.append(found)
            task.advance(len(found))
    task.finish()
    return journal.rows()


class Finding:
    """Finds the candidates of blocks of queries; in another process it reads vectors and words from files."""

    on_gpu = True

    def __init__(self, documents: Vectors, ranker: Ranker | None, lexical: Lexical | None, count: int) -> None:
        """Look among `documents`, which the ranker ranks, too."""
        self.files: Mapping[str, Path] = {}
        self._count, self._block_size = count, ranker and ranker.block
        self._opened: _Opened | None = _Opened(documents, ranker, lexical)

    def __call__(self, asked: Block) -> Candidates:
        """Return the candidates of each query of a block."""
        documents, ranker, lexical = self._open()
        found = []
        if ranker is not None:
            found.append(_candidates(*ranker.top(asked.vectors, self._count, asked.excluded), source="dense"))
        if lexical is not None:
            rows = lexical.top(asked.texts, self._count, asked.excluded)
            found.append(_candidates(rows, exact_scores(asked.vectors, documents, rows), source="bm25"))
        return found[0] if len(found) == 1 and ranker is not None else merge(found)

    def lay_out(self, folder: Path) -> None:
        """Write into a folder what other processes are to find in files."""
        documents, _, lexical = self._open()
        np.save(folder / DOCUMENTS, documents)
        self.files = {"vectors": folder / DOCUMENTS, **({"words": lexical.folder} if lexical else {})}

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what lies in files."""
        return {**self.__dict__, "_opened": None}

    def _open(self) -> _Opened:
        if self._opened is None:
            documents: Vectors = np.load(self.files["vectors"], mmap_mode="r")
            ranker = Ranker(documents, self._block_size) if self._block_size else None
            words = self.files.get("words")
            self._opened = _Opened(documents, ranker, Lexical.open(words) if words else None)
        return self._opened


class _Opened(NamedTuple):
    documents: Vectors
    ranker: Ranker | None
    lexical: Lexical | None


def _block(asked: Asked, vectors: Space, start: int, stop: int) -> Block:
    return Block(np.array(vectors.queries[start:stop]), asked.texts[start:stop], asked.excluded_between(start, stop))


def merge(found: list[Candidates]) -> Candidates:
    """Return the union of candidates of several sources, each document once, nearest first."""
    together = np.concatenate(found, axis=1)
    together = _sorted(together, (together["row"],))
    row = together["row"]
    twice = (row[:, :-1] == row[:, 1:]) & (row[:, 1:] >= 0)
    for source in ("dense", "bm25"):
        ranks = together[source]
        # Of a document that stands twice, the first place takes over what the second knows.
        ranks[:, :-1] = np.where(twice, np.maximum(ranks[:, :-1], ranks[:, 1:]), ranks[:, :-1])
    for field, nothing in (("row", NOBODY), ("dense", NOBODY), ("bm25", NOBODY), ("score", -np.inf)):
        together[field][:, 1:][twice] = nothing
    return _sorted(together, (row, -together["score"]))


def _sorted(candidates: Candidates, keys: tuple[npt.NDArray[Any], ...]) -> Candidates:
    return np.take_along_axis(candidates, np.lexsort(keys, axis=1), axis=1)


def _candidates(rows: Rows, scores: Vectors, source: str) -> Candidates:
    made = np.empty(rows.shape, dtype=CANDIDATE)
    made["row"], made["score"], made["dense"], made["bm25"] = rows, scores, NOBODY, NOBODY
    made[source] = np.where(rows >= 0, np.arange(rows.shape[1]), NOBODY)
    made["row"][~np.isfinite(scores)] = NOBODY
    return made
