"""Measure whether a run on documents alone helps the queries people ask.

    python bench/human.py FOLDER [FOLDER ...] [--base MODEL] [--preset NAME] [--set KEY=VALUE ...] [--runs DIR]
    python bench/human.py FOLDER --finished RUN
    python bench/human.py FOLDER --give 300 [--seed 0]

Each FOLDER is a collection in BEIR layout with queries by people. A run reads its corpus.jsonl alone; the
queries are read afterwards, by this file, to score base and tuned. Prints the metrics of both and their
ratio, with the time and peak memory of the run. --finished scores a run that is already there. --give draws
so many of the queries, gives them to the run as training pairs, and scores base and tuned on the others alone.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hfembed.cli_base import prepare_process
from hfembed.embed import Embedder
from hfembed.evaluate.base import measure_base
from hfembed.evaluate.task import METRICS, Collection, score_embedder
from hfembed.events import silent
from hfembed.hub import local_model
from hfembed.run import LAYOUT, Run
from hfembed.stage import Sources
from hfembed.summary import summarize


def main() -> None:
    """Run every folder and print one table."""
    arguments = parse()
    rows = []
    for folder in arguments.folders:
        with tempfile.TemporaryDirectory() as temporary:
            home = arguments.finished or (arguments.runs or Path(temporary)) / folder.name
            collection, pairs = Collection.read(folder, "HumanQueries"), None
            if arguments.give:
                given = draw_queries(collection, arguments.give, arguments.seed)
                pairs = write_pairs(collection, given, Path(temporary) / "pairs.jsonl")
                collection = collection.without(given)
            seconds = None if arguments.finished else run(folder, home, pairs, arguments)
            rows.append(measure(collection, Run.open(home)))
            show(folder.name, rows[-1], summarize(Run.open(home)), seconds)
    if len(rows) > 1:
        gains = [row["tuned"]["ndcg@10"] / row["base"]["ndcg@10"] - 1 for row in rows]
        print(f"mean gain of nDCG@10: {np.mean(gains):+.1%}, worst {min(gains):+.1%}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--preset", default="instant")
    parser.add_argument("--until", default="export")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--runs", type=Path, help="keep the runs here")
    parser.add_argument("--finished", type=Path, help="score this run instead of starting one")
    parser.add_argument("--give", type=int, default=0, metavar="N", help="queries given to the run to learn from")
    parser.add_argument("--seed", type=int, default=0, help="which queries are given")
    return parser.parse_args()


def draw_queries(collection: Collection, count: int, seed: int) -> set[str]:
    """Return the ids of the queries that are given away, and so are not scored."""
    return set(random.Random(seed).sample(sorted(collection.queries), count))


def write_pairs(collection: Collection, given: set[str], file: Path) -> Path:
    """Write some queries with the documents that answer them, as a user would have them."""
    with file.open("w", encoding="utf-8") as lines:
        for name in sorted(given):
            row = {"query": collection.queries[name], "positive_ids": list(collection.qrels[name])}
            lines.write(json.dumps(row) + "\n")
    return file


def run(folder: Path, home: Path, pairs: Path | None, arguments: argparse.Namespace) -> float:
    """Run the pipeline on the documents of a collection, and the pairs if there are any; return its seconds."""
    command = [sys.executable, "-m", "hfembed", "run", "--preset", arguments.preset, "--corpus", str(folder)]
    command += ["--base", arguments.base, "--run", str(home), "--until", arguments.until, "--format", "json"]
    command += ["--pairs", str(pairs)] if pairs else []
    command += [part for setting in arguments.settings for part in ("--set", setting)]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(collection: Collection, target: Run) -> dict[str, dict[str, float]]:
    """Score base and tuned on the human queries."""
    embeddings = target.path(LAYOUT.embeddings)
    tuned = Embedder(local_model("tuned", target.path(LAYOUT.model)), embeddings)
    scores = {
        "base": measure_base(collection, Sources(target.recipe()), embeddings, silent()).scores,
        "tuned": score_embedder(collection, tuned, "tuned"),
    }
    return {
        name: {metric: float(np.mean([row[metric] for row in found.per_query.values()])) for metric in METRICS}
        for name, found in scores.items()
    }


def show(name: str, scores: dict[str, dict[str, float]], summary: dict, seconds: float | None) -> None:
    """Print one collection."""
    took = (
        f"run {seconds:.0f} s, peak {max(stage['peak_mb'] for stage in summary['stages']):.0f} MB, " if seconds else ""
    )
    print(f"{name}, queries by people ({took}held-out test: {summary['verdict']})")
    for metric in METRICS:
        base, tuned = scores["base"][metric], scores["tuned"][metric]
        print(f"  {metric:10} base {base:.4f}  tuned {tuned:.4f}  {tuned / base - 1:+.1%}")


if __name__ == "__main__":
    prepare_process()
    main()
