"""The generate stage: queries for documents, filtered, and split by document."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.corpus import Documents
from hfembed.errors import StageError
from hfembed.events import Reporter
from hfembed.generate.extractive import DocumentFrequencies, words_of, write_queries
from hfembed.recipe import Generate, QueryKind
from hfembed.run import LAYOUT
from hfembed.stage import Job, Outcome

MIN_QUERIES = 8
WANTED_TEST_QUERIES = 50

PAIRS = pa.schema([(name, pa.string()) for name in ("query_id", "query", "positive", "positive_id", "group", "kind")])


class Split(StrEnum):
    """What a document's queries are for."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


@dataclass(frozen=True)
class Query:
    """One query and the row of the document that answers it."""

    text: str
    kind: QueryKind
    row: int
    split: Split


def generate(job: Job) -> Outcome:
    """Write queries for the documents of the run, and split them so that no document serves twice."""
    settings, seed = job.recipe.generate, job.recipe.seed
    documents = Documents.read(job.run.path(LAYOUT.documents))
    splits = split_groups(documents.groups, settings, seed)
    made = _write_all(documents, splits, settings, seed, job.report)
    queries, dropped = drop_ambiguous(made)
    by_split = {split: [query for query in queries if query.split is split] for split in Split}
    _refuse_too_few(by_split, job.report)
    test = _draw(by_split[Split.TEST], settings.max_test_queries, seed)
    dropped["over_test_limit"] = len(by_split[Split.TEST]) - len(test)
    _write_pairs(job.out / Path(LAYOUT.pairs).name, by_split[Split.TRAIN], documents)
    _write_pairs(job.out / Path(LAYOUT.dev).name, by_split[Split.DEV], documents)
    _write_test(job.out / Path(LAYOUT.test).name, test, documents)
    counts = {"train": len(by_split[Split.TRAIN]), "dev": len(by_split[Split.DEV]), "test": len(test)}
    kinds = Counter(str(query.kind) for query in queries)
    return Outcome(counts={**counts, **kinds}, dropped=dict(dropped))


def split_groups(groups: list[str], settings: Generate, seed: int) -> list[Split]:
    """Assign every document to a split; documents of one group always go together."""
    names = sorted(set(groups))
    random.Random(seed).shuffle(names)
    test, dev = round(len(names) * settings.test_share), round(len(names) * settings.dev_share)
    where = {
        name: Split.TEST if at < test else Split.DEV if at < test + dev else Split.TRAIN
        for at, name in enumerate(names)
    }
    return [where[group] for group in groups]


def drop_ambiguous(queries: Iterable[Query]) -> tuple[list[Query], Counter[str]]:
    """Drop queries that do not name one document: empty ones, and one text written for several documents."""
    rows: dict[str, set[int]] = {}
    held = list(queries)
    for query in held:
        rows.setdefault(_normal(query.text), set()).add(query.row)
    kept, dropped, seen = [], Counter[str](), set()
    for query in held:
        text = _normal(query.text)
        if not text:
            dropped["empty"] += 1
        elif len(rows[text]) > 1:
            dropped["ambiguous"] += 1
        elif text in seen:
            dropped["repeated"] += 1
        else:
            seen.add(text)
            kept.append(query)
    return kept, dropped


def _normal(text: str) -> str:
    return " ".join(words_of(text))


def _write_all(
    documents: Documents, splits: list[Split], settings: Generate, seed: int, report: Reporter
) -> list[Query]:
    frequencies = DocumentFrequencies(documents.texts())
    rows = _draw(list(range(len(documents))), settings.max_documents, seed)
    made = []
    for row in report.each(rows, "writing queries", len(rows), "documents"):
        for kind, text in write_queries(
            documents.ids[row], documents.titles[row], documents.bodies[row], settings.kinds, frequencies, seed
        ):
            made.append(Query(text, kind, row, splits[row]))
    return made


def _draw(items: list[Any], count: int, seed: int) -> list[Any]:
    if len(items) <= count:
        return items
    chosen = sorted(random.Random(seed).sample(range(len(items)), count))
    return [items[at] for at in chosen]


def _refuse_too_few(by_split: dict[Split, list[Query]], report: Reporter) -> None:
    for split, queries in by_split.items():
        if len(queries) < MIN_QUERIES:
            raise StageError(
                f"Only {len(queries)} {split} queries could be made from this corpus; {MIN_QUERIES} are needed.",
                "Add documents, or ask for more: --set generate.kinds.keyword=6",
            )
    if len(by_split[Split.TEST]) < WANTED_TEST_QUERIES:
        report.warn(
            f"Only {len(by_split[Split.TEST])} test queries: a small difference cannot be told from chance. "
            "More documents would help."
        )


def _query_id(query: Query, documents: Documents) -> str:
    name = f"{documents.ids[query.row]}\n{query.kind}\n{query.text}"
    return f"{query.kind}-{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"


def _write_pairs(file: Path, queries: list[Query], documents: Documents) -> None:
    texts = documents.texts()
    rows = [
        {
            "query_id": _query_id(query, documents),
            "query": query.text,
            "positive": texts[query.row],
            "positive_id": documents.ids[query.row],
            "group": documents.groups[query.row],
            "kind": str(query.kind),
        }
        for query in queries
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=PAIRS), file)


def _write_test(folder: Path, queries: list[Query], documents: Documents) -> None:
    (folder / "qrels").mkdir(parents=True)
    columns = zip(documents.ids, documents.titles, documents.bodies, strict=True)
    _write_jsonl(folder / "corpus.jsonl", ({"_id": i, "title": t, "text": b} for i, t, b in columns))
    identified = [(_query_id(query, documents), query) for query in queries]
    _write_jsonl(
        folder / "queries.jsonl", ({"_id": i, "text": q.text, "metadata": {"kind": q.kind}} for i, q in identified)
    )
    lines = ["query-id\tcorpus-id\tscore", *(f"{i}\t{documents.ids[q.row]}\t1" for i, q in identified)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_jsonl(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8") as handle:
        for row in rows:
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
