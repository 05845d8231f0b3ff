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
    """All test queries: the difference of each, and those that gained and lost most."""

    deltas: npt.NDArray[np.float64]
    gained: list[Change]
    lost: list[Change]

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

    def examples(sign: int) -> list[Change]:
        order = sorted(range(len(rows)), key=lambda at: (-sign * deltas[at], rows[at]["query_id"]))
        chosen: dict[str, Change] = {}  # each document once: three queries about one say the same thing
        for at in order:
            if sign * deltas[at] <= SAME or len(chosen) == EXAMPLES:
                break
            row, document = rows[at], answers[rows[at]["query_id"]]
            places = (_place(row["base_mrr@10"]), _place(row["tuned_mrr@10"]))
            chosen.setdefault(document, Change(row["query"], row["kind"], document, titles[document], *places))
        return list(chosen.values())

    return Changes(deltas, examples(1), examples(-1))


def _answers(test: Path) -> dict[str, str]:
    with (test / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {row["query-id"]: row["corpus-id"] for row in reversed(rows) if int(row["score"]) > 0}


def _place(reciprocal: float) -> int | None:
    return round(1 / reciprocal) if reciprocal else None
