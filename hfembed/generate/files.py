"""Queries as files: training and dev pairs as parquet, the test in BEIR layout."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.corpus import Documents, join_title
from hfembed.generate.query import Query
from hfembed.recipe import QueryKind

PAIRS = pa.schema(
    [
        *((name, pa.string()) for name in ("query_id", "query", "positive", "positive_id", "group", "kind", "writer")),
        ("weight", pa.float32()),
        ("judge_score", pa.float32()),
        ("details", pa.string()),
        ("negatives", pa.list_(pa.string())),
    ]
)
WRITE_ROWS = 4_096


def weigh_queries(queries: list[Query], wanted: Mapping[QueryKind, float]) -> list[float]:
    """Return how much each query counts in training; 1 on the mean.

    Every document counts alike, and so does every kind that a document offers, however many queries of
    each were made: what a corpus is rich in does not drown the rest. `wanted` changes that by kind.
    """
    kinds: dict[tuple[int, ...], Counter[QueryKind]] = defaultdict(Counter)
    for query in queries:
        for place in _places(query):
            kinds[place][query.kind] += 1
    weights = []
    for query in queries:
        places = _places(query)
        weights.append(sum(_share(query.kind, kinds[place], wanted) for place in places) / len(places))
    mean = sum(weights) / max(1, len(weights))
    return [weight / mean for weight in weights] if mean else [1.0] * len(weights)


def weigh_dev(queries: list[Query], wanted: Mapping[QueryKind, float]) -> list[float]:
    """Return how much each dev query counts once it is learned from: all alike, but for what people asked."""
    weights = weigh_queries(queries, wanted)
    return [weight if query.kind is QueryKind.LABELLED else 1.0 for query, weight in zip(queries, weights, strict=True)]


def write_pairs(file: Path, queries: list[Query], weights: list[float], documents: Documents) -> None:
    """Write one row for every query and document that answers it."""
    with pq.ParquetWriter(file, PAIRS) as writer:
        for start in range(0, len(queries), WRITE_ROWS):
            part = slice(start, start + WRITE_ROWS)
            rows = [
                row
                for query, weight in zip(queries[part], weights[part], strict=True)
                for row in _rows(query, weight, documents)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=PAIRS))


def write_test(folder: Path, queries: list[Query], documents: Documents) -> None:
    """Write a BEIR folder: all documents, the queries, and every document that answers each."""
    (folder / "qrels").mkdir(parents=True)
    columns = zip(documents.ids, documents.titles, documents.bodies, strict=True)
    _write_jsonl(folder / "corpus.jsonl", ({"_id": i, "title": t, "text": b} for i, t, b in columns))
    identified = [(query_id(query, documents), query) for query in queries]
    _write_jsonl(
        folder / "queries.jsonl", ({"_id": i, "text": q.text, "metadata": {"kind": q.kind}} for i, q in identified)
    )
    judged = [f"{i}\t{documents.ids[row]}\t1" for i, query in identified for row in query.rows]
    lines = "\n".join(["query-id\tcorpus-id\tscore", *judged])
    (folder / "qrels" / "test.tsv").write_text(lines + "\n", encoding="utf-8")


def query_id(query: Query, documents: Documents) -> str:
    """Return the id of a query, made from what it asks of which documents."""
    name = "\n".join([*(documents.ids[row] for row in query.rows), query.kind, query.text])
    return f"{query.kind}-{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"


def _places(query: Query) -> list[tuple[int, ...]]:
    """Return what a query counts as a part of: what people asked belongs to each of its documents."""
    return [(row,) for row in query.rows] if query.kind is QueryKind.LABELLED else [query.rows]


def _share(kind: QueryKind, offered: Counter[QueryKind], wanted: Mapping[QueryKind, float]) -> float:
    shares = sum(wanted.get(kind, 1.0) for kind in offered)
    return wanted.get(kind, 1.0) / shares / offered[kind] if shares else 0.0


def _rows(query: Query, weight: float, documents: Documents) -> list[dict[str, Any]]:
    shared = {
        "query_id": query_id(query, documents),
        "query": query.text,
        "kind": str(query.kind),
        "writer": query.writer,
        "weight": weight / len(query.rows),
        "judge_score": query.score,
        "details": json.dumps(query.details, ensure_ascii=False, sort_keys=True) if query.details else None,
        "negatives": list(query.negatives),
    }
    texts = [join_title(documents.titles[row], documents.bodies[row]) for row in query.rows]
    return [
        {
            **shared,
            "positive": text if query.passage is None else query.passage,
            "positive_id": documents.ids[row],
            "group": documents.groups[row],
        }
        for row, text in zip(query.rows, texts, strict=True)
    ]


def _write_jsonl(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8") as handle:
        for row in rows:
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
