"""Collection: documents, queries and which documents answer which query, in BEIR terms."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection as Some
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hfembed.corpus import join_title

# What a query is of that no one labelled otherwise.
HUMAN = "human"


@dataclass(frozen=True)
class Collection:
    """What is searched, what is asked, and what is right."""

    name: str
    corpus: dict[str, str]
    queries: dict[str, str]
    kinds: dict[str, str]
    qrels: dict[str, dict[str, int]]

    @classmethod
    def read(cls, folder: Path, name: str) -> Collection:
        """Read a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv."""
        documents = _read_jsonl(folder / "corpus.jsonl")
        corpus = {str(d["_id"]): join_title(d.get("title") or "", d.get("text") or "") for d in documents}
        return replace(cls.read_queries(folder, name), corpus=corpus)

    @classmethod
    def read_queries(cls, folder: Path, name: str) -> Collection:
        """Read a BEIR folder without its documents, which may be many."""
        rows = _read_jsonl(folder / "queries.jsonl")
        qrels: dict[str, dict[str, int]] = {}
        with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                if int(row["score"]) > 0:
                    qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
        queries = {str(q["_id"]): q["text"] for q in rows if str(q["_id"]) in qrels}
        kinds = {str(q["_id"]): (q.get("metadata") or {}).get("kind", HUMAN) for q in rows}
        return cls(name, {}, queries, kinds, {identity: qrels[identity] for identity in queries})

    def without(self, queries: Some[str]) -> Collection:
        """Return the collection without some of its queries."""
        kept = {identity: text for identity, text in self.queries.items() if identity not in queries}
        return replace(self, queries=kept, qrels={identity: self.qrels[identity] for identity in kept})

    def clusters(self) -> list[str]:
        """Return, for each query, the document that answers it: queries about one rise and fall together."""
        return [min(self.qrels[identity]) for identity in self.queries]


def _read_jsonl(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
