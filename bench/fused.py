"""Measure an index of a model with heads: how well each part of it finds, how fast, and how much place it takes.

    python bench/fused.py COLLECTION --model RUN [--queries N] [--times N] [--work DIR]

COLLECTION is a folder in BEIR layout, RUN a finished run of neuromap or its model. The documents are indexed as
`hfembed index` does, without queries of dev; then every mode answers the queries: nDCG@10 and Recall@10, the time of one
query (median, the slowest of twenty, and the processor's, which is what counts on a busy machine; reading the query is
included), and how many of the ten best of comparing with all documents it finds, where of equals any may stand. `x` is nDCG@10 against the one vector alone. --times puts so many copies of the corpus with their
words in another order beside it, for size and time; they answer nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hfembed.evaluate.collection import Collection
from hfembed.index import Index, Mode, build_index
from hfembed.stage import PeakMemory

DEPTH = 10


@dataclass
class Row:
    """What was measured of one mode."""

    ndcg: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    found: list[float] = field(default_factory=list)


def main() -> None:
    """Build, ask and print."""
    arguments = parse()
    collection = Collection.read(arguments.collection, "Human")
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        work = Path(name)
        corpus, peak, started = enlarged(arguments.collection, arguments.times, work), PeakMemory(), time.perf_counter()
        built = build_index(str(corpus), arguments.model, work / "index").manifest
        print(
            f"{built.documents:,} documents in {time.perf_counter() - started:,.0f} s, at most {peak.megabytes():,.0f} MB"
        )
        print("  ".join(f"{part} {size / 1e6:,.1f} MB" for part, size in built.sizes.items()))
        show(measure(Index(work / "index"), collection, arguments))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--queries", type=int, default=300, help="at most so many, drawn by chance")
    parser.add_argument("--exact", type=int, default=50, help="queries that are compared with all documents")
    parser.add_argument("--times", type=int, default=0, metavar="N")
    parser.add_argument("--work", type=Path, help="where files are written; the default is the system's place for them")
    return parser.parse_args()


def enlarged(collection: Path, times: int, work: Path) -> Path:
    """Return the corpus, with copies whose words stand in another order where such are wanted."""
    if not times:
        return collection
    draw, lines = random.Random(0), (collection / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    for at in range(times):
        for row in rows[: len(lines)]:
            words = row["text"].split()
            rows.append({**row, "_id": f"{row['_id']}-{at}", "text": " ".join(draw.sample(words, len(words)))})
    (work / "corpus").mkdir()
    target = work / "corpus" / "corpus.jsonl"
    target.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return target


def measure(index: Index, collection: Collection, arguments: argparse.Namespace) -> Mapping[Mode, Row]:
    """Ask every query in every mode."""
    names = random.Random(0).sample(sorted(collection.queries), min(arguments.queries, len(collection.queries)))
    rows = {mode: Row() for mode in index.manifest.modes}
    for mode in rows:
        index.search("a first query opens all files", DEPTH, mode)
    for at, name in enumerate(names):
        query, answers = collection.queries[name], collection.qrels[name]
        for mode, row in rows.items():
            started, processor = time.perf_counter(), time.process_time()
            hits = [hit.id for hit in index.search(query, DEPTH, mode)]
            row.seconds.append(time.perf_counter() - started)
            row.processor.append(time.process_time() - processor)
            good = np.array([answers.get(identity, 0) > 0 for identity in hits])
            ideal = (1 / np.log2(np.arange(2, 2 + min(DEPTH, len(answers))))).sum()
            row.ndcg.append(float((good / np.log2(np.arange(2, 2 + len(hits)))).sum() / ideal) if len(hits) else 0.0)
            row.recall.append(float(good.sum()) / len(answers))
            if at < arguments.exact:  # so many are asked for that every document is a candidate
                best = index.search(query, index.manifest.documents, mode)[:DEPTH]
                row.found.append(len({hit.id for hit in best}.intersection(hits)) / max(1, len(best)))
    return rows


def show(rows: Mapping[Mode, Row]) -> None:
    """Print one table."""
    print(f"{'':14}{'nDCG@10':>9}{'R@10':>8}{'x':>7}{'p50 ms':>9}{'p95 ms':>9}{'cpu ms':>9}{'found':>8}")
    base = statistics.mean(rows[Mode.DENSE].ndcg)
    for mode, row in rows.items():
        milliseconds = sorted(1_000 * second for second in row.seconds)
        print(
            f"{mode:14}{statistics.mean(row.ndcg):>9.4f}{statistics.mean(row.recall):>8.4f}"
            f"{statistics.mean(row.ndcg) / base:>7.2f}{statistics.median(milliseconds):>9.1f}"
            f"{milliseconds[int(0.95 * (len(milliseconds) - 1))]:>9.1f}"
            f"{1_000 * statistics.median(row.processor):>9.1f}{statistics.mean(row.found):>8.3f}"
        )


if __name__ == "__main__":
    main()
