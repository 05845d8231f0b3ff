"""Queries to try on the Compare page: the ones a run was tested on."""

from __future__ import annotations

import json
from itertools import zip_longest

from hfembed.run import LAYOUT

from .runner import Launch

MAX_CHARS = 90


def example_queries(launch: Launch, count: int = 6) -> list[str]:
    """Return some of a run's test queries, the kinds in turn; very long ones are left out."""
    file = launch.run / LAYOUT.test / "queries.jsonl"
    by_kind: dict[str, list[str]] = {}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            query = json.loads(line)
            if len(query["text"]) <= MAX_CHARS:
                by_kind.setdefault(query.get("metadata", {}).get("kind", ""), []).append(query["text"])
    # The file follows the documents: taking every n-th query shows different ones.
    spread = [texts[:: max(1, len(texts) // count)] for texts in by_kind.values()]
    in_turn = [text for group in zip_longest(*spread) for text in group if text]
    return list(dict.fromkeys(in_turn))[:count]
