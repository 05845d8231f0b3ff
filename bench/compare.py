"""Measure how fast a comparison answers, and whether memory stays bounded as models come and go.

    python bench/compare.py [--documents 5000] [--comparisons 50] [--base MODEL] [--people 10] [--work DIR]
    python bench/compare.py --documents 1000000 --base MODEL --work DIR

Latency: base, a copy with other weights (as a tuned model is) and BM25 on a corpus of made-up documents of about 60
words; the first answer loads and encodes all, the later ones are timed, each with a query of its own; then so many
people ask at once. The processor time is what an answer would take on an idle core. Memory: that many comparisons on a small corpus, in turn of four models that differ, two at a
time. Prints medians, the share of the target, and the memory after the first round and at the end with their ratio.

From so many documents on that a search is approximate, an index is compared from disk instead: its vectors are made up,
its texts are 40 made-up words each, and the queries are encoded by the model. One vector search, BM25 and both together
are timed alone, each query a new one, with its passages read: median, the slowest of twenty, the share of the target,
and the processor's time; the first, which opens the index after the system has dropped its files from memory, where it
lets us, stands alone; and the memory with the model before, and the most that was held.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
from index import SAMPLE, centres, clustered, draw_words, fresh
from index import documents as make_documents
from words import write_corpus

from hfembed.cli_base import prepare_process
from hfembed.compare import BM25, Library, compare
from hfembed.embed import Precision, Role, encode, load_model
from hfembed.events import silent
from hfembed.hub import locate_model
from hfembed.index.approximate import make_approximate
from hfembed.index.build import EXACT_BELOW
from hfembed.index.manifest import Approximate, IndexManifest, State, read_manifest, write_place
from hfembed.index.store import Store

TARGET_MS = 300
TARGET_FROM_DISK_MS = 100
WARM = 20
SMALL, LENGTH = 200, 60
QUERIES = (
    "leaking pump after frost",
    "battery empty in the morning",
    "which valve is replaced first",
    "noise at night",
)


def main() -> None:
    """Measure and print."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        if arguments.documents >= EXACT_BELOW:
            from_disk(arguments, work)
            return
        models = copies(arguments.base, work, 4)
        latency(models[:2], make_corpus(work, arguments.documents), arguments)
        memory(models, make_corpus(work, SMALL), arguments.comparisons)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=5_000)
    parser.add_argument("--comparisons", type=int, default=50)
    parser.add_argument("--people", type=int, default=10, help="how many ask at once")
    parser.add_argument("--queries", type=int, default=100, help="of a large corpus, for each way of searching")
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--work", type=Path, help="keep corpora and models here")
    return parser.parse_args()


def make_corpus(work: Path, documents: int) -> str:
    """Write a corpus of made-up documents, once."""
    file = work / f"corpus-{documents}" / "corpus.jsonl"
    if not file.is_file():
        file.parent.mkdir(parents=True)
        write_corpus(file, documents, LENGTH)
    return str(file)


def copies(base: str, work: Path, count: int) -> list[str]:
    """Return the folders of models that differ from the base by a little in every weight."""
    folders = [work / f"model-{number}" for number in range(count)]
    for number, folder in enumerate(folders):
        if not folder.is_dir():
            model = load_model(locate_model(base))
            for weights in model.parameters():
                weights.data.mul_(1 + 0.002 * number)
            model.save_pretrained(str(folder), create_model_card=False)
    return [str(folder) for folder in folders]


def latency(models: Sequence[str], corpus: str, arguments: argparse.Namespace) -> None:
    """Time the first answer, later ones, and many at once."""
    library, names = Library(), [*models, BM25]
    started = time.perf_counter()
    compare(names, corpus, QUERIES[0], library=library)
    first = time.perf_counter() - started

    def ask(number: int) -> float:
        started = time.perf_counter()
        compare(names, corpus, f"{QUERIES[number % len(QUERIES)]} {number}", library=library)
        return (time.perf_counter() - started) * 1000

    worked = time.process_time()
    alone = [ask(number) for number in range(WARM)]
    worked = (time.process_time() - worked) * 1000 / WARM
    with ThreadPoolExecutor(arguments.people) as threads:
        together = list(threads.map(ask, range(arguments.people * 2)))
    print(f"{arguments.documents:,} documents, {len(models)} models and BM25")
    print(f"  first answer                {first:8.1f} s (loads, encodes, indexes)")
    show("later answers", alone)
    print(
        f"  processor time of one       {worked:8.0f} ms; {worked / TARGET_MS:.2f} of {TARGET_MS} ms (a busy machine only adds)"
    )
    show(f"{arguments.people} people at once", together)


def from_disk(arguments: argparse.Namespace, work: Path) -> None:
    """Time each way of searching an index on disk alone."""
    folder = work / f"index-{arguments.documents}"
    started = time.perf_counter()
    how = made_up_index(folder, arguments.documents, arguments.base)
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{arguments.documents:,} documents, {disk / 1e9:.2f} GB on disk; recall {how.recall:.3f}, ", end="")
    print(f"{how.probes} of {how.partitions} parts; prepared in {time.perf_counter() - started:.0f} s")
    library, name = Library(), str(folder)
    library.models.get(library.source(arguments.base).fingerprint, lambda: load_model(library.source(arguments.base)))
    model = library.model(library.source(arguments.base))
    encode(model, [QUERIES[0]], Role.QUERY, Precision.FP32)
    forget(folder)
    peak, before = fresh(), psutil.Process().memory_info().rss / 1e6
    said = [
        " ".join(f"w{word}" for word in draw_words(np.random.default_rng(at), 3)) for at in range(arguments.queries)
    ]
    print(f"{'':28}{'p50 ms':>9}{'p95 ms':>9}{'first ms':>9}{'cpu ms':>9}{'of target':>11}")
    for contender in ("index", BM25, "hybrid:index"):
        milliseconds: list[float] = []
        worked = 0.0
        for query in said:
            worked = worked if len(milliseconds) != 1 else time.process_time()
            started = time.perf_counter()
            compare([contender], name, query, library=library)
            milliseconds.append((time.perf_counter() - started) * 1000)
        worked = (time.process_time() - worked) * 1000 / (len(said) - 1)
        first, rest = milliseconds[0], sorted(milliseconds[1:])
        median, slow = statistics.median(rest), rest[int(0.95 * (len(rest) - 1))]
        print(
            f"  {contender:26}{median:9.1f}{slow:9.1f}{first:9.1f}{worked:9.1f}{median / TARGET_FROM_DISK_MS:11.2f}",
            flush=True,
        )
    print(f"memory: {before:.0f} MB with the model, at most {peak.megabytes():.0f} MB while it answered")


def made_up_index(folder: Path, documents: int, base: str) -> Approximate:
    """Build an index as `hfembed index` does, once; its vectors come from no model."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.approximate is None:
        source = locate_model(base)
        dimensions = encode(load_model(source), [QUERIES[0]], Role.QUERY, Precision.FP32).shape[1]
        store = Store(folder, "cosine")
        for table, vectors in make_documents(documents, dimensions):
            store.add(table, vectors)
        store.settle()
        store.index_words()
        sample = clustered(np.random.default_rng(1), centres(documents, dimensions), SAMPLE)
        how = make_approximate(store, sample, None, silent())
        manifest = IndexManifest(
            state=State.DONE, model=source.to_json(), dimensions=dimensions, documents=documents, approximate=how
        )
        write_place(folder, base)
        manifest.write(folder)
    assert manifest.approximate is not None
    return manifest.approximate


def forget(folder: Path) -> None:
    """Have the system drop the files of a folder from its memory, where it can."""
    for file in folder.rglob("*"):
        if file.is_file() and hasattr(os, "posix_fadvise"):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def show(name: str, milliseconds: Sequence[float]) -> None:
    """Print a median and the slowest."""
    middle = statistics.median(milliseconds)
    slowest = max(milliseconds)
    print(f"  {name:27} {middle:8.0f} ms, slowest {slowest:.0f} ms; {middle / TARGET_MS:.2f} of {TARGET_MS} ms")


def memory(models: Sequence[str], corpus: str, comparisons: int) -> None:
    """Compare two of the models at a time, in turn, and look at what this process holds."""
    library, held = Library(), []
    turns = [*pairwise([*models, models[0]])]
    for number in range(comparisons):
        compare(turns[number % len(turns)], corpus, QUERIES[number % len(QUERIES)], library=library)
        gc.collect()
        held.append(psutil.Process().memory_info().rss / 1e6)
    first, last = max(held[: len(turns)]), max(held[-len(turns) :])
    print(f"{comparisons} comparisons of {len(models)} models in turn, {len(library.models)} kept in memory")
    print(
        f"  after {len(turns)}: {first:.0f} MB, at the end: {last:.0f} MB, most: {max(held):.0f} MB; ratio {last / first:.2f}"
    )


if __name__ == "__main__":
    prepare_process()
    main()
