"""Measure an index against what one would use otherwise, on made-up vectors that stand in clusters; needs no model.

    python bench/index.py [--sizes 10000,100000,1000000] [--dimensions 384] [--queries 200] [--work DIR]

Of each size: seconds to build, bytes on disk, time of one query (median, the slowest of twenty, and the processor's,
which is what counts on a busy machine), recall of the ten nearest against comparing with all, and the most memory that
was held. Against: comparing with all by numpy, vectors in
memory and in a file; and, where they are installed, hnswlib and FAISS (IVF). `x` is the processor time against numpy in memory.
Texts are 40 made-up words each, so that the index of words has a real size. The same seed makes the same vectors.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hfembed.events import silent
from hfembed.index.approximate import NEAREST, make_approximate
from hfembed.index.build import EXACT_BELOW
from hfembed.index.fusion import PART_DEPTH, join
from hfembed.index.known import hashes
from hfembed.index.sources import BLOCK
from hfembed.index.store import KEY, TEXT, Store
from hfembed.stage import PeakMemory, release_memory

Vectors = npt.NDArray[np.float32]
# How far a vector stands from the middle of its cluster, against how far the middles stand from one another.
SPREAD, SAMPLE = 0.7, 100
# How many vectors stand in a cluster.
TOGETHER = 100
WORDS, VOCABULARY = 40, 20_000


@dataclass
class Row:
    """What was measured of one way of searching."""

    name: str
    build: float = 0.0
    disk: int = 0
    seconds: list[float] = field(default_factory=list)
    processor: float = 0.0
    recall: float = 1.0
    memory: float = 0.0


def main() -> None:
    """Measure and print."""
    arguments = parse()
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
    for size in (int(part) for part in arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.work) as name:
            rows = measure(size, arguments, Path(name))
        show(size, arguments.dimensions, rows)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000", metavar="N,N")
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--exact-below", type=int, default=EXACT_BELOW, help="as hfembed index has it")
    parser.add_argument("--work", type=Path, help="where files are written; the default is the system's place for them")
    return parser.parse_args()


def measure(size: int, arguments: argparse.Namespace, work: Path) -> list[Row]:
    """Measure every way of searching over the same vectors."""
    dimensions, count = arguments.dimensions, arguments.queries
    file = work / "vectors.f32"
    with file.open("wb") as handle:
        for block in blocks(size, dimensions):
            handle.write(block.tobytes())
    vectors = np.memmap(file, dtype=np.float32, mode="r", shape=(size, dimensions))
    queries = clustered(np.random.default_rng(1), centres(size, dimensions), count + SAMPLE)
    asked, sample = queries[:count], queries[count:]
    least = np.array([np.sort(np.partition(vectors @ query, -NEAREST)[-NEAREST:])[0] for query in asked])
    approximate = size >= arguments.exact_below
    rows = index_rows(size, asked, sample, least, approximate, work)
    rows += [in_memory(vectors, asked), from_file(vectors, asked)]
    for library, function in (("hnswlib", by_hnswlib), ("faiss", by_faiss)):
        if find_spec(library):
            rows.append(function(importlib.import_module(library), vectors, asked, least))
    return rows


def index_rows(size: int, asked: Vectors, sample: Vectors, least: Vectors, approximate: bool, work: Path) -> list[Row]:
    """Build the index as `hfembed index` does, the model aside, and search it in every mode."""
    peak, started, folder = fresh(), time.perf_counter(), work / "index"
    store = Store(folder, "cosine")
    for table, vectors in documents(size, asked.shape[1]):
        store.add(table, vectors)
    store.settle()
    store.index_words()
    how = make_approximate(store, sample, None, silent()) if approximate else None
    built, memory = time.perf_counter() - started, peak.megabytes()
    disk = sum(part.stat().st_size for part in folder.rglob("*") if part.is_file())
    said = [" ".join(f"w{word}" for word in draw_words(np.random.default_rng(at), 3)) for at in range(len(asked))]

    def hybrid(at: int) -> Any:
        return join(store.nearest(asked[at], PART_DEPTH, how), store.by_words(said[at], PART_DEPTH), 0.5)

    peak = PeakMemory()
    name = f"dense ({how.probes} of {how.partitions} parts)" if how else "dense (all)"
    rows = [Row(name, built, disk, memory=memory), Row("bm25"), Row("hybrid")]
    found = timed(rows[0], lambda at: store.nearest(asked[at], NEAREST, how), len(asked))
    good = [sum(score >= edge - 1e-5 for score in one.values()) for one, edge in zip(found, least, strict=True)]
    rows[0].recall = sum(good) / (NEAREST * len(good))
    timed(rows[1], lambda at: store.by_words(said[at], NEAREST), len(asked))
    timed(rows[2], hybrid, len(asked))
    rows[2].memory = peak.megabytes()
    shutil.rmtree(folder)
    return rows


def in_memory(vectors: Vectors, asked: Vectors) -> Row:
    """Compare with all vectors, which are in memory."""
    peak, started = fresh(), time.perf_counter()
    loaded = np.array(vectors)
    row = Row("numpy, in memory", time.perf_counter() - started, loaded.nbytes)
    timed(row, lambda at: best(loaded, asked[at]), len(asked))
    row.memory = peak.megabytes()
    return row


def from_file(vectors: Vectors, asked: Vectors) -> Row:
    """Compare with all vectors, which are mapped from a file."""
    peak, row = fresh(), Row("numpy, from a file", 0.0, vectors.nbytes)
    timed(row, lambda at: best(vectors, asked[at]), len(asked))
    row.memory = peak.megabytes()
    return row


def by_hnswlib(library: Any, vectors: Vectors, asked: Vectors, least: Vectors) -> Row:
    """Build and search a graph in memory."""
    peak, started = fresh(), time.perf_counter()
    graph = library.Index(space="ip", dim=vectors.shape[1])
    graph.init_index(max_elements=len(vectors), M=16, ef_construction=200)
    for start in range(0, len(vectors), BLOCK):
        graph.add_items(np.array(vectors[start : start + BLOCK]))
    graph.set_ef(100)
    row = Row("hnswlib", time.perf_counter() - started)
    found = timed(row, lambda at: graph.knn_query(asked[at], k=NEAREST)[0][0], len(asked))
    row.recall, row.memory = share(found, vectors, asked, least), peak.megabytes()
    return row


def by_faiss(library: Any, vectors: Vectors, asked: Vectors, least: Vectors) -> Row:
    """Divide the vectors into parts in memory, and look into a sixteenth of them."""
    peak, started = fresh(), time.perf_counter()
    parts = max(1, round(len(vectors) ** 0.5))
    index = library.index_factory(vectors.shape[1], f"IVF{parts},Flat", library.METRIC_INNER_PRODUCT)
    index.train(np.array(vectors[:: max(1, len(vectors) // (64 * parts))]))
    for start in range(0, len(vectors), BLOCK):
        index.add(np.array(vectors[start : start + BLOCK]))
    index.nprobe = max(1, parts // 16)
    row = Row("faiss, IVF", time.perf_counter() - started)
    found = timed(row, lambda at: index.search(asked[at : at + 1], NEAREST)[1][0], len(asked))
    row.recall, row.memory = share(found, vectors, asked, least), peak.megabytes()
    return row


def fresh() -> PeakMemory:
    """Let go of what is not needed, and watch memory from here on."""
    gc.collect()
    release_memory()
    return PeakMemory()


def share(found: list[Any], vectors: Vectors, asked: Vectors, least: Vectors) -> float:
    """Return which share of the nearest rows was found."""
    good = [
        int((vectors[np.sort(rows)] @ query >= edge - 1e-5).sum())
        for rows, query, edge in zip(found, asked, least, strict=True)
    ]
    return sum(good) / (NEAREST * len(good))


def best(vectors: Vectors, query: Vectors) -> Any:
    """Return the rows of the nearest vectors, nearest first."""
    scores = vectors @ query
    rows = np.argpartition(scores, -NEAREST)[-NEAREST:]
    return rows[np.argsort(-scores[rows])]


def timed(row: Row, search: Callable[[int], Any], count: int) -> list[Any]:
    """Return the answer of every query, the first of them asked once before; write down how long it took."""
    search(0)
    answers, processor = [], time.process_time()
    for at in range(count):
        started = time.perf_counter()
        answers.append(search(at))
        row.seconds.append(time.perf_counter() - started)
    row.processor = (time.process_time() - processor) / count
    return answers


def documents(size: int, dimensions: int) -> Iterator[tuple[pa.Table, Vectors]]:
    """Yield documents with their vectors, as many at a time as a build writes."""
    draw, at = np.random.default_rng(2), 0
    for vectors in blocks(size, dimensions):
        ids = [f"d{number}" for number in range(at, at + len(vectors))]
        texts = [" ".join(f"w{word}" for word in draw_words(draw, WORDS)) for _ in ids]
        columns = {"id": ids, "title": [""] * len(ids), TEXT: texts, "group": ids, "document": ids}
        yield pa.table({**columns, KEY: pa.array(hashes(texts))}), vectors
        at += len(vectors)


def draw_words(draw: np.random.Generator, count: int) -> list[int]:
    """Return words, a few of them very common, as in a language."""
    return (np.minimum(draw.zipf(1.3, count), VOCABULARY)).tolist()


def blocks(size: int, dimensions: int) -> Iterator[Vectors]:
    """Yield the vectors of the corpus; the same ones every time."""
    draw, middles = np.random.default_rng(0), centres(size, dimensions)
    for start in range(0, size, BLOCK):
        yield clustered(draw, middles, min(BLOCK, size - start))


def centres(size: int, dimensions: int) -> Vectors:
    """Return the middles of the clusters of so many vectors."""
    return np.random.default_rng(3).standard_normal((max(2, size // TOGETHER), dimensions), dtype=np.float32)


def clustered(draw: np.random.Generator, middles: Vectors, count: int) -> Vectors:
    """Return vectors of length one around the middles."""
    noise = draw.standard_normal((count, middles.shape[1]), dtype=np.float32)
    found = middles[draw.integers(0, len(middles), count)] + SPREAD * noise
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


def show(size: int, dimensions: int, rows: list[Row]) -> None:
    """Print one table."""
    print(f"\n{size:,} documents of {dimensions} dimensions")
    print(
        f"{'':28}{'build s':>9}{'disk MB':>9}{'p50 ms':>10}{'p95 ms':>10}{'cpu ms':>10}{'recall':>8}{'peak MB':>9}{'x':>9}"
    )
    base = next(row.processor for row in rows if row.name == "numpy, in memory")
    for row in rows:
        milliseconds = sorted(1_000 * second for second in row.seconds)
        median, slow = statistics.median(milliseconds), milliseconds[int(0.95 * (len(milliseconds) - 1))]
        print(
            f"{row.name:28}{row.build:>9.1f}{row.disk / 1e6:>9.1f}{median:>10.2f}{slow:>10.2f}{1e3 * row.processor:>10.2f}"
            f"{row.recall:>8.3f}{row.memory:>9.0f}{row.processor / base:>9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
