"""Queries to try on the Compare page: some that the corpus is tested with."""

from __future__ import annotations

import random
from collections.abc import Collection
from itertools import zip_longest

from hfembed.compare.queries import Queries

MAX_CHARS = 90


def example_queries(known: Queries, count: int = 6) -> list[str]:
    """Return some queries, the kinds in turn; very long ones are left out."""
    by_kind: dict[str, list[str]] = {}
    for query in known.queries:
        if len(query.text) <= MAX_CHARS:
            by_kind.setdefault(query.kind, []).append(query.text)
    # They follow the documents: taking every n-th query shows different ones.
    spread = [texts[:: max(1, len(texts) // count)] for texts in by_kind.values()]
    in_turn = [text for group in zip_longest(*spread) for text in group if text]
    return list(dict.fromkeys(in_turn))[:count]


def next_query(known: Queries, voted: Collection[str]) -> str | None:
    """Return a query that nobody voted on yet, drawn at random."""
    left = [query.text for query in known.queries if query.text not in voted and len(query.text) <= MAX_CHARS]
    return random.SystemRandom().choice(left) if left else None
