"""Does a run on documents alone help the queries people ask?

    python bench/human.py FOLDER [FOLDER ...] [--base MODEL] [--preset NAME] [--set KEY=VALUE ...] [--runs DIR]

Each FOLDER is a collection in BEIR layout with queries by people. The run sees corpus.jsonl alone; the
queries are read afterwards, by this file, to score base and tuned. Prints nDCG@10, Recall@10 and hit@1 of
both and their ratio, with the time and peak memory of the run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hfembed.embed import Embedder
from hfembed.evaluate.task import METRICS, Collection, score_embedder
from hfembed.hub import local_model, locate_model


def main() -> None:
    """Run every folder and print one table."""
    arguments = parse()
    rows = []
    for folder in arguments.folders:
        with tempfile.TemporaryDirectory() as temporary:
            home = arguments.runs / folder.name if arguments.runs else Path(temporary) / "run"
            summary, seconds = run(folder, home, arguments)
            rows.append({"collection": folder.name, "seconds": seconds, **measure(folder, home, arguments.base)})
            rows[-1]["peak_mb"] = max(stage["peak_mb"] for stage in summary["stages"])
            rows[-1]["verdict"] = summary["verdict"]
            show(rows[-1])
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
    return parser.parse_args()


def run(folder: Path, home: Path, arguments: argparse.Namespace) -> tuple[dict, float]:
    """Run the pipeline on a copy that holds the documents and nothing else."""
    with tempfile.TemporaryDirectory() as alone:
        shutil.copy(folder / "corpus.jsonl", alone)
        command = [sys.executable, "-m", "hfembed", "run", "--preset", arguments.preset, "--corpus", alone]
        command += ["--base", arguments.base, "--run", str(home), "--until", arguments.until, "--format", "json"]
        command += [part for setting in arguments.settings for part in ("--set", setting)]
        started = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout), time.perf_counter() - started


def measure(folder: Path, home: Path, base: str) -> dict:
    """Score base and tuned on the human queries."""
    collection = Collection.read(folder, "HumanQueries")
    sources = {"base": locate_model(base), "tuned": local_model("tuned", home / "model")}
    scores = {}
    for name, source in sources.items():
        values = score_embedder(collection, Embedder(source, home / "embeddings"), name).per_query.values()
        scores[name] = {metric: float(np.mean([value[metric] for value in values])) for metric in METRICS}
    return scores


def show(row: dict) -> None:
    """Print one collection."""
    print(f"{row['collection']}: run {row['seconds']:.0f} s, peak {row['peak_mb']:.0f} MB, held-out: {row['verdict']}")
    for metric in METRICS:
        base, tuned = row["base"][metric], row["tuned"][metric]
        print(f"  {metric:10} base {base:.4f}  tuned {tuned:.4f}  {tuned / base - 1:+.1%}")


if __name__ == "__main__":
    main()
