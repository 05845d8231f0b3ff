"""Measure mining against sentence-transformers on the same vectors, and on a corpus of a million documents.

    python bench/mine.py [--documents N] [--queries N] [--width N] [--repeat N]
    python bench/mine.py --large [--blocks N] [--folder DIR]

The vectors are random and clustered, of length one, and lie in memory-mapped files; each miner runs in a
process of its own and is given the same ones (sentence_transformers.util.mine_hard_negatives through a model
that looks a text's vector up). The rules agree: four negatives, the nearest, at most 95 % of the positive's
score, 41 candidates looked at. Prints seconds, peak memory above the vectors, their ratios, and the share of
rows with the same negatives.

--large: 1,000,000 documents and 100,000 queries of 384 numbers. With --blocks N the time is extrapolated from N
blocks of 1,024 queries each, and the line says so; the memory is measured, not extrapolated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

NEGATIVES = 4
SHARE = 0.95
# What mine_hard_negatives looks at by itself: ten per negative and one positive.
CANDIDATES = 10 * NEGATIVES + 1
DOCUMENTS, QUERIES = "documents.f32", "queries.f32"
CLUSTER = 50
# So near one another that the cap takes some of a cluster away.
TIGHT = 3
STEP = 8_192


def main() -> None:
    """Measure, or do one measured piece of work."""
    arguments = parse()
    if arguments.worker:
        print(json.dumps(WORKERS[arguments.worker](arguments)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        arguments.folder = Path(folder)
        if arguments.large:
            arguments.documents, arguments.queries = 1_000_000, 100_000
        write_vectors(arguments)
        show_large(arguments) if arguments.large else show_comparison(arguments)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the fastest counts")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--blocks", type=int, help="with --large: mine only so many blocks of queries")
    parser.add_argument("--folder", type=Path, help="where the vectors are written for the time being")
    parser.add_argument("--worker", choices=("hfembed", "sentence-transformers"), help=argparse.SUPPRESS)
    return parser.parse_args()


def write_vectors(arguments: argparse.Namespace) -> None:
    """Write documents in clusters, and queries near the first documents."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(-(-arguments.documents // CLUSTER), arguments.width)).astype(np.float32)
    with (arguments.folder / DOCUMENTS).open("wb") as file:
        for start in range(0, arguments.documents, STEP):
            rows = np.arange(start, min(start + STEP, arguments.documents))
            file.write(unit(TIGHT * centres[rows % len(centres)] + noise(draw, len(rows), arguments.width)).tobytes())
    documents = vectors(arguments, DOCUMENTS, arguments.documents)
    with (arguments.folder / QUERIES).open("wb") as file:
        for start in range(0, arguments.queries, STEP):
            rows = np.arange(start, min(start + STEP, arguments.queries))
            file.write(unit(documents[rows] + noise(draw, len(rows), arguments.width) / 28).tobytes())


def noise(draw: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Return random vectors."""
    return draw.standard_normal(size=(count, width), dtype=np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length one."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def vectors(arguments: argparse.Namespace, name: str, count: int) -> np.ndarray:
    """Open vectors as a memory map."""
    return np.memmap(arguments.folder / name, dtype=np.float32, mode="r", shape=(count, arguments.width))


def show_comparison(arguments: argparse.Namespace) -> None:
    """Run both miners and print one table."""
    size = (arguments.documents + arguments.queries) * arguments.width * 4 / 2**20
    print(f"{arguments.documents:,} documents, {arguments.queries:,} queries, width {arguments.width}: {size:.0f} MB")
    runs = [{name: work(arguments, name) for name in WORKERS} for _ in range(arguments.repeat)]
    results = {name: min((run[name] for run in runs), key=lambda run: run["seconds"]) for name in WORKERS}
    ours, theirs = results["hfembed"], results["sentence-transformers"]
    print(f"{'':24}{'seconds':>10}{'MB above the vectors':>24}")
    for name, result in results.items():
        print(f"{name:24}{result['seconds']:>10.1f}{result['mb']:>24.0f}")
    seconds, memory = ours["seconds"] / theirs["seconds"], ours["mb"] / theirs["mb"]
    print(f"{'ratio':24}{seconds:>10.2f}{memory:>24.2f}")
    found = [np.load(arguments.folder / f"{name}.npy") for name in WORKERS]
    both = (found[0] >= 0).all(axis=1) & (found[1] >= 0).all(axis=1)
    same = (found[0] == found[1])[both]
    print(
        f"same negatives in the same order: {same.all(axis=1).mean():.2%} of the {both.sum():,} rows that both fill "
        f"({(~both).sum():,} have fewer than {NEGATIVES} under the cap in one of them); {same.mean():.3%} of the places"
    )


def show_large(arguments: argparse.Namespace) -> None:
    """Mine a large corpus and print time and memory."""
    result = work(arguments, "hfembed")
    done = result["queries"]
    whole = result["seconds"] * arguments.queries / done
    how = "" if done == arguments.queries else f", extrapolated from {done:,} queries in {result['seconds']:.0f} s"
    print(f"{arguments.documents:,} documents x {arguments.queries:,} queries x {arguments.width}")
    print(f"time {whole:,.0f} s ({arguments.queries / whole:,.0f} queries/s{how})")
    print(f"peak memory above the memory-mapped vectors: {result['mb']:.0f} MB")


def work(arguments: argparse.Namespace, worker: str) -> dict[str, Any]:
    """Let one miner work in a process of its own."""
    command = [sys.executable, __file__, "--worker", worker, "--folder", str(arguments.folder)]
    for name in ("documents", "queries", "width", "blocks"):
        if getattr(arguments, name) is not None:
            command += [f"--{name}", str(getattr(arguments, name))]
    quiet = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    return json.loads(done.stdout.splitlines()[-1])


class Watch:
    """Seconds and memory since it was made; the pages of memory-mapped vectors are not counted."""

    def __init__(self) -> None:
        """Start."""
        from hfembed.stage import PeakMemory

        self._peak, self._before, self._started = PeakMemory(), resident(), time.perf_counter()

    def stop(self, mapped: float) -> dict[str, float]:
        """Return what was used. mapped: the MB of the vectors' files that the peak may hold."""
        return {
            "seconds": time.perf_counter() - self._started,
            "mb": self._peak.megabytes() - self._before - mapped,
        }


def resident() -> float:
    """Return the MB this process holds now."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def mine_ours(arguments: argparse.Namespace) -> dict[str, Any]:
    """Mine as the stage does, from vectors to negatives; the positive of query n is document n."""
    import torch  # noqa: F401 - the stage has it loaded; a GPU is used through it

    from hfembed.events import silent
    from hfembed.mine.asked import Asked, lowest_positives, unique_pairs
    from hfembed.mine.candidates import find_candidates, width_of
    from hfembed.mine.chosen import Chosen
    from hfembed.mine.journal import Journal
    from hfembed.mine.rules import Bounds, Rules, cap_scores
    from hfembed.mine.space import CANDIDATE, Space
    from hfembed.mine.stage import choose
    from hfembed.ranking import QUERY_BLOCK, Ranker, pair_scores
    from hfembed.recipe import Mine

    settings = Mine(
        negatives=NEGATIVES, candidates=64 if arguments.blocks or arguments.documents > 500_000 else CANDIDATES
    )
    count = min(arguments.queries, (arguments.blocks or arguments.queries) * QUERY_BLOCK)
    space = Space(
        vectors(arguments, QUERIES, arguments.queries)[:count], vectors(arguments, DOCUMENTS, arguments.documents)
    )
    watch = Watch()
    at = np.arange(count)
    pairs = unique_pairs(at, at)
    asked = Asked(["" for _ in at], pairs, pairs, pairs, {})
    lowest = lowest_positives(asked, pair_scores(space.queries, space.documents, pairs))
    shutil.rmtree(arguments.folder / "journal", ignore_errors=True)
    journal = Journal(arguments.folder / "journal", CANDIDATE, width_of(settings.candidates, 1, arguments.documents))
    ranker = Ranker(space.documents, settings.block_size)
    found = find_candidates(asked, space, ranker, None, settings.candidates, journal, silent())
    chosen = Chosen.none(count, NEGATIVES)
    choose(chosen, asked, Rules(found, Bounds(lowest, cap_scores(lowest, settings.cap)), settings), space, settings, 0)
    mapped = (arguments.documents + count) * arguments.width * 4 / 2**20
    measured = watch.stop(mapped)
    np.save(arguments.folder / "hfembed.npy", chosen.rows)
    return {**measured, "queries": count}


def mine_theirs(arguments: argparse.Namespace) -> dict[str, Any]:
    """Mine with sentence-transformers; the model looks vectors up, so that nothing is encoded."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SimilarityFunction
    from sentence_transformers.sentence_transformer.modules import Normalize
    from sentence_transformers.util import mine_hard_negatives

    class Stub(SentenceTransformer):
        """A model that knows the vector of every text by its number."""

        def encode_query(self, texts: list[str], **_: object) -> np.ndarray:
            return queries[[int(text[1:]) for text in texts]]

        def encode_document(self, texts: list[str], **_: object) -> np.ndarray:
            return documents[[int(text[1:]) for text in texts]]

    queries = vectors(arguments, QUERIES, arguments.queries)
    documents = vectors(arguments, DOCUMENTS, arguments.documents)
    model = Stub(modules=[Normalize()], similarity_fn_name=SimilarityFunction.DOT_PRODUCT, device="cpu")
    data = Dataset.from_dict(
        {
            "query": [f"q{at}" for at in range(arguments.queries)],
            "positive": [f"d{at}" for at in range(arguments.queries)],
        }
    )
    corpus = [f"d{at}" for at in range(arguments.documents)]
    watch = Watch()
    mined = mine_hard_negatives(
        data, model, corpus=corpus, relative_margin=1 - SHARE, num_negatives=NEGATIVES, sampling_strategy="top",
        output_format="n-tuple", verbose=False,
    )  # fmt: skip
    # It looks vectors up once, so its own copy of them is no fault of the miner: counted like the mapped files.
    measured = watch.stop(2 * (arguments.documents + arguments.queries) * arguments.width * 4 / 2**20)
    rows = np.full((arguments.queries, NEGATIVES), -1, dtype=np.int64)
    for row in mined:
        rows[int(row["query"][1:])] = [int(row[f"negative_{number}"][1:]) for number in range(1, NEGATIVES + 1)]
    np.save(arguments.folder / "sentence-transformers.npy", rows)
    return measured


WORKERS = {"hfembed": mine_ours, "sentence-transformers": mine_theirs}


if __name__ == "__main__":
    main()
