"""Given: negatives that came with the pairs; curated, so the cap does not apply to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hfembed.embed import Embedder
from hfembed.mine.asked import Asked
from hfembed.mine.chosen import Chosen
from hfembed.mine.rules import Miner
from hfembed.mine.space import Space
from hfembed.mine.texts import Texts
from hfembed.ranking import Pairs, Vectors, pair_scores


@dataclass(frozen=True)
class Given:
    """Given negatives by query. texts: those the corpus does not hold; their rows follow the corpus's."""

    texts: list[str]
    rows: dict[int, list[int]]

    @classmethod
    def find(cls, asked: Asked, documents: Texts) -> Given:
        """Look the given texts up in the corpus."""
        wanted = dict.fromkeys(text for texts in asked.given.values() for text in texts)
        known: dict[str, int] = {}
        if wanted:
            for row, text in enumerate(documents.texts):
                if text in wanted:
                    known.setdefault(text, row)
        outside = {text: len(documents) + at for at, text in enumerate(text for text in wanted if text not in known)}
        where = {**known, **outside}
        return cls(list(outside), {query: [where[text] for text in texts] for query, texts in asked.given.items()})


def put_given(chosen: Chosen, given: Given, asked: Asked, vectors: Space, embedder: Embedder) -> None:
    """Give every query the negatives that came with it, but for positives and their near-duplicates."""
    if not given.rows:
        return
    outside = embedder.documents(given.texts) if given.texts else vectors.documents[:0]
    limit = chosen.rows.shape[1]
    for query, rows in given.rows.items():
        excluded = set(asked.excluded_of(query).tolist())
        right = [row for row in rows if row not in excluded]
        kept = right[:limit]
        chosen.tally["given_positive"] += len(rows) - len(right)
        chosen.tally["given_over_limit"] += len(right) - len(kept)
        chosen.put(query, kept, _scores(vectors.queries[query], kept, vectors.documents, outside).tolist(), Miner.GIVEN)


def _scores(query: Vectors, rows: list[int], documents: Vectors, outside: Vectors) -> Vectors:
    vectors = [documents[row] if row < len(documents) else outside[row - len(documents)] for row in rows]
    if not vectors:
        return np.empty(0, dtype=np.float32)
    at = np.arange(len(rows))
    return pair_scores(query[None, :], np.stack(vectors), Pairs(np.zeros_like(at), at))
