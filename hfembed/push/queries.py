"""Queries: what became of every test query, and the ones worth showing."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hfembed.corpus import Documents

METRIC = "ndcg@10"
EXAMPLES = 3
# Kinds that read as people ask; of these, and then of all others, examples to try are taken.
READABLE = ("question", "multi_hop", "claim", "aspect", "sentence", "lead", "title")
READABLE_WORDS = 8
# Differences below this are rounding, not ranks.
SAME = 1e-9


@dataclass(frozen=True)
class Change:
    """One query: the document that answers it, and at which place base and tuned show it (None: below 10)."""

    query: str
    kind: str
    document_id: str
    document: str
    base: int | None
    tuned: int | None


@dataclass(frozen=True)
class Changes:
    """All test queries: the difference of each, those that gained and lost most, and some to try."""

    deltas: npt.NDArray[np.float64]
    gained: list[Change]
    lost: list[Change]
    to_try: list[Change]

    @property
    def wins(self) -> int:
        """Queries that the tuned model answers better."""
        return int((self.deltas > SAME).sum())

    @property
    def losses(self) -> int:
        """Queries that the tuned model answers worse."""
        return int((self.deltas < -SAME).sum())

    @property
    def ties(self) -> int:
        """Queries answered alike."""
        return len(self.deltas) - self.wins - self.losses


def read_changes(table: Path, test: Path, documents: Documents) -> Changes:
    """Read the per-query results of a run."""
    rows = pq.read_table(table).to_pylist()
    deltas = np.array([row[f"tuned_{METRIC}"] - row[f"base_{METRIC}"] for row in rows], dtype=np.float64)
    answers = _answers(test)
    titles = {
        identity: title or " ".join(body.split()[:12])
        for identity, title, body in zip(documents.ids, documents.titles, documents.bodies, strict=True)
    }

    def first(order: list[int]) -> list[Change]:
        chosen: dict[str, Change] = {}  # each document once: three queries about one say the same thing
        for at in order:
            if len(chosen) == EXAMPLES:
                break
            row, document = rows[at], answers[rows[at]["query_id"]]
            places = (_place(row["base_mrr@10"]), _place(row["tuned_mrr@10"]))
            chosen.setdefault(document, Change(row["query"], row["kind"], document, titles[document], *places))
        return list(chosen.values())

    def moved(sign: int) -> list[int]:
        found = [at for at in range(len(rows)) if sign * deltas[at] > SAME]
        return sorted(found, key=lambda at: (-sign * deltas[at], rows[at]["query_id"]))

    readable = sorted(range(len(rows)), key=lambda at: (*_oddness(rows[at]["kind"], rows[at]["query"]), at))
    return Changes(deltas, first(moved(1)), first(moved(-1)), first(readable))


def _oddness(kind: str, query: str) -> tuple[int, int]:
    """Return how far a query is from what a person would type, whatever became of it."""
    rank = READABLE.index(kind) if kind in READABLE else len(READABLE)
    return rank, abs(len(query.split()) - READABLE_WORDS)


def _answers(test: Path) -> dict[str, str]:
    with (test / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {row["query-id"]: row["corpus-id"] for row in reversed(rows) if int(row["score"]) > 0}


def _place(reciprocal: float) -> int | None:
    return round(1 / reciprocal) if reciprocal else None
