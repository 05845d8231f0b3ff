"""Words: BM25 over a corpus in memory, and the words of a query as they stand in a passage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from hfembed.ranking import Rows, Vectors
from hfembed.text import STOPWORDS, WORD

STEMMER, STEMMED = "Stemmer", "english"
STEMS_KEPT = 50_000


class WordIndex:
    """BM25 as `evaluate` has it: English stems where PyStemmer is installed, words as they are elsewhere."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Index texts."""
        import bm25s

        self._index, self._size = bm25s.BM25(method="lucene"), len(texts)
        self._index.index(_tokens(texts), show_progress=False)

    def top(self, query: str, count: int) -> tuple[Rows, Vectors]:
        """Return rows and scores of the best texts that share a word with the query."""
        rows, scores = self._index.retrieve(_tokens([query]), k=min(count, self._size), show_progress=False)
        found = scores[0] > 0  # a text without any of the words is no answer
        rows, scores = rows[0][found], scores[0][found]
        order = np.lexsort((rows, -scores))
        return rows[order].astype(np.int64), scores[order].astype(np.float32)


def matching_spans(query: str, text: str) -> list[tuple[int, int]]:
    """Return where a text has words of the query, in whatever form; words that every text has do not count."""
    wanted = stems_of(query)
    return [word.span() for word in WORD.finditer(text) if _stem(word[0].lower()) in wanted] if wanted else []


def best_window(query: str, text: str, length: int) -> tuple[int, int]:
    """Return the part of a text, at most so long, that has the most different words of the query; the first of those."""
    if len(text) <= length:
        return 0, len(text)
    spans = matching_spans(query, text)
    if not spans or spans[-1][1] <= length:
        return 0, _word_end(text, length)
    stems = [_stem(text[start:end].lower()) for start, end in spans]
    best = max(range(len(spans)), key=lambda at: (_variety(spans, stems, at, length), -at))
    # Some words before the first match say what it is about.
    before = spans[best][0] - length // 4
    start = text.find(" ", before) + 1 if before > 0 else 0
    return start, _word_end(text, start + length)


def stems_of(text: str) -> frozenset[str]:
    """Return the stems of the words that tell something."""
    words = [word.lower() for word in WORD.findall(text)]
    return frozenset(_stem(word) for word in words if word not in STOPWORDS)


def _variety(spans: list[tuple[int, int]], stems: list[str], first: int, length: int) -> int:
    end = spans[first][0] + length - length // 4
    return len({stem for (_, stop), stem in zip(spans[first:], stems[first:], strict=True) if stop <= end})


def _word_end(text: str, end: int) -> int:
    """Return the end of the last whole word before a place."""
    return len(text) if end >= len(text) else max(text.rfind(" ", 0, end), 0) or end


@lru_cache(maxsize=STEMS_KEPT)
def _stem(word: str) -> str:
    stemmer = _stemmer()
    return stemmer.stemWord(word) if stemmer else word


def _tokens(texts: Sequence[str]) -> Any:
    import bm25s

    return bm25s.tokenize(list(texts), stopwords="en", stemmer=_stemmer(), show_progress=False)


def _stemmer() -> Any:
    # One for each call: threads may not share them.
    return import_module(STEMMER).Stemmer(STEMMED) if STEMMER in sys.modules or find_spec(STEMMER) else None
