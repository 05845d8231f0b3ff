"""The dataset repo: triplets with where they come from, and the held-out test, as parquet that load_dataset reads."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.push.card import render_card
from hfembed.push.facts import Facts
from hfembed.push.figures import draw_similarity
from hfembed.push.texts import histogram
from hfembed.push.words import (
    MINERS,
    corpus_in_words,
    explain_kind,
    explain_reason,
    is_cut,
    miner_in_words,
    negatives_in_words,
    queries_in_words,
    short_rows_in_words,
)
from hfembed.run import LAYOUT, Run

if TYPE_CHECKING:
    from hfembed.hub.cards import DatasetCardData

Files = list[tuple[str, Path | bytes]]

# config -> split -> file; corpus, queries and qrels are named as mteb names the parts of a retrieval dataset.
CONFIGS = {
    "triplets": {"train": "triplets/train.parquet", "dev": "triplets/dev.parquet"},
    "corpus": {"corpus": "corpus/corpus.parquet"},
    "queries": {"queries": "queries/queries.parquet"},
    "qrels": {"test": "qrels/test.parquet"},
}
TAGS = ("sentence-transformers", "hfembed", "synthetic", "hard-negatives")
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGE = "1M<n<10M"
EXAMPLES = 3
BAR = 30
# split -> where its queries stand, and in which column their ids.
SPLITS = {
    "train": (CONFIGS["triplets"]["train"], "query_id"),
    "dev": (CONFIGS["triplets"]["dev"], "query_id"),
    "test": (CONFIGS["queries"]["queries"], "_id"),
}
# The stages that made the data.
DATA_STAGES = ("pull", "generate", "mine")
# The columns that the card explains; whatever else the stages wrote is published as it is.
KNOWN_COLUMN = re.compile(
    r"query|query_id|positive|positive_id|kind|group|miner|writer|weight|judge_score|details|negatives"
    r"|score_positive|negative_\d+(_id|_miner)?|score_negative_\d+"
)


def dataset_files(facts: Facts, repo: str, work: Path, model: str | None = None) -> Files:
    """Write the parquet files below `work` and return every file of the dataset repo, card included."""
    tables = {
        CONFIGS["triplets"]["train"]: train_table(facts),
        CONFIGS["triplets"]["dev"]: dev_table(facts),
        CONFIGS["corpus"]["corpus"]: corpus_table(facts.run),
        CONFIGS["queries"]["queries"]: queries_table(facts.run),
        CONFIGS["qrels"]["test"]: qrels_table(facts.run),
    }
    files: Files = []
    for name, table in tables.items():
        file = work / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        files.append((name, file))
    figures = draw_similarity(facts.manifests["mine"].facts.get("histograms", {}))
    card = dataset_card(facts, repo, model, tables, list(figures))
    return [("README.md", card.encode()), *files, *figures.items()]


def train_table(facts: Facts) -> pa.Table:
    """Return the training triplets and who mined their negatives."""
    table = pq.read_table(facts.run.path(LAYOUT.train))
    return table.append_column("miner", pa.array([facts.base.name] * table.num_rows, pa.string()))


def dev_table(facts: Facts) -> pa.Table:
    """Return the dev pairs under the columns of train; nothing was mined for them, so those stay empty."""
    table = pq.read_table(facts.run.path(LAYOUT.dev))
    for field in train_table(facts).schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def corpus_table(run: Run) -> pa.Table:
    """Return all documents; those of one group are near-duplicates."""
    table = pq.read_table(run.path(LAYOUT.documents))
    return table.rename_columns(["_id" if name == "id" else name for name in table.column_names])


def queries_table(run: Run) -> pa.Table:
    """Return the held-out test queries."""
    with (run.path(LAYOUT.test) / "queries.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return pa.table(
        {
            "_id": pa.array([row["_id"] for row in rows], pa.string()),
            "text": pa.array([row["text"] for row in rows], pa.string()),
            "kind": pa.array([(row.get("metadata") or {}).get("kind") for row in rows], pa.string()),
        }
    )


def qrels_table(run: Run) -> pa.Table:
    """Return which document answers which test query."""
    with (run.path(LAYOUT.test) / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in ("query-id", "corpus-id")}
    return pa.table({**columns, "score": pa.array([int(row["score"]) for row in rows], pa.int32())})


def dataset_metadata(facts: Facts, repo: str, rows: int) -> DatasetCardData:
    """Return the dataset's metadata."""
    from hfembed.hub.cards import DatasetCardData

    configs = [
        {
            "config_name": name,
            **({"default": True} if name == "triplets" else {}),
            "data_files": [{"split": split, "path": path} for split, path in splits.items()],
        }
        for name, splits in CONFIGS.items()
    ]
    return DatasetCardData(
        language=facts.languages or None,
        license=facts.corpus.license,
        pretty_name=repo.split("/")[-1],
        size_categories=[next((size for limit, size in SIZES if rows < limit), LARGE)],
        task_categories=["sentence-similarity", "text-retrieval"],
        tags=list(TAGS),
        configs=configs,
    )


def dataset_card(
    facts: Facts, repo: str, model: str | None, tables: dict[str, pa.Table], figures: Sequence[str] = ()
) -> str:
    """Return the dataset's README.md. tables: by file."""
    rows = {name: table.num_rows for name, table in tables.items()}
    train = tables[CONFIGS["triplets"]["train"]]
    step = max(1, train.num_rows // EXAMPLES)
    examples = [train.slice(at * step, 1).to_pylist()[0] for at in range(min(EXAMPLES, train.num_rows))]
    return render_card(
        "dataset.md",
        dataset_metadata(facts, repo, sum(rows.values())),
        name=repo.split("/")[-1],
        repo=repo,
        model=model,
        facts=facts,
        rows=rows,
        configs=CONFIGS,
        columns=train.column_names,
        examples=examples,
        kinds_made=count_kinds(tables),
        lengths={
            "queries": bars(train["query"].to_pylist()),
            "documents": bars(facts.documents.texts()),
        },
        cut=is_cut(facts),
        corpus_said=corpus_in_words(facts),
        writing=queries_in_words(facts),
        mining=negatives_in_words(facts),
        miner=miner_in_words(facts),
        short_rows=short_rows_in_words(facts),
        explain_kind=explain_kind,
        explain_reason=explain_reason,
        mine=facts.manifests["mine"],
        figures=figures,
        miners={name: count for name, count in facts.manifests["mine"].facts.get("miners", {}).items() if count},
        miner_names=MINERS,
        dropped=[
            (stage, reason, count) for stage in DATA_STAGES for reason, count in facts.manifests[stage].dropped.items()
        ],
        other_columns=[name for name in train.column_names if not KNOWN_COLUMN.fullmatch(name)],
        negatives=[name for name in train.column_names if name.removeprefix("negative_").isdecimal()],
        licence=facts.corpus.license,
    )


def count_kinds(tables: dict[str, pa.Table]) -> dict[str, dict[str, int]]:
    """Return how many queries there are of each kind in each split; a query with two answers is one."""
    counts: dict[str, dict[str, int]] = {}
    for split, (table, identity) in SPLITS.items():
        queries = dict(zip(tables[table][identity].to_pylist(), tables[table]["kind"].to_pylist(), strict=True))
        for kind, count in Counter(map(str, queries.values())).items():
            counts.setdefault(kind, dict.fromkeys(SPLITS, 0))[split] = count
    return dict(sorted(counts.items()))


def bars(texts: list[str]) -> list[tuple[str, int, str]]:
    """Return the lengths of texts in words as rows of a histogram: bin, count, bar."""
    rows = histogram(len(text.split()) for text in texts)
    most = max(count for _, count in rows)
    return [(name, count, "█" * max(int(count > 0), round(BAR * count / most))) for name, count in rows]
