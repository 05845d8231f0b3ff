"""Measure what an index finds for the queries people ask: vectors, words and both, with the base and with the tuned model.

    python bench/search.py FOLDER [FOLDER ...] [--base MODEL] [--preset NAME] [--runs DIR]

Each FOLDER is a collection in BEIR layout with queries by people. A run reads its corpus.jsonl alone; two indexes of
that run, under its base and its tuned model, are asked the queries afterwards. `hybrid` joins vectors and words by the
share that the run's own queries of dev chose for that index, `half` by one half each, as one would without dev. Prints
the metrics of each, the share and the gain that dev promised, and the seconds of a query.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hfembed.cli_base import prepare_process
from hfembed.compare import read_contenders
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.task import score_rankings
from hfembed.index import Index, Mode, build_index
from hfembed.index.fusion import PART_DEPTH, join

METRICS = ("ndcg@10", "recall@10", "mrr@10", "hit@1")
HALF = "half"
WAYS = (str(Mode.DENSE), str(Mode.BM25), str(Mode.HYBRID), HALF)


def main() -> None:
    """Run every folder, index it twice, and print a table of each."""
    arguments = parse()
    for folder in arguments.folders:
        with tempfile.TemporaryDirectory() as temporary:
            home = (arguments.runs or Path(temporary)) / folder.name
            run(folder, home, arguments)
            collection = Collection.read(folder, "HumanQueries")
            for name in ("base", "tuned"):
                measure(collection, home, name, home.parent / f"{folder.name}-{name}.index")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--preset", default="instant")
    parser.add_argument("--runs", type=Path, help="keep the runs and indexes here")
    return parser.parse_args()


def run(folder: Path, home: Path, arguments: argparse.Namespace) -> None:
    """Run the pipeline on the documents of a collection; what is done is not done again."""
    command = [sys.executable, "-m", "hfembed", "run", "--preset", arguments.preset, "--corpus", str(folder)]
    command += ["--base", arguments.base, "--run", str(home), "--until", "train", "--format", "json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(collection: Collection, home: Path, name: str, folder: Path) -> None:
    """Index a run under one of its models, ask the index, and print what it finds."""
    (contender,) = read_contenders([name], str(home))
    built = build_index(str(home), str(contender.model), folder)
    index, fusion = Index(folder), built.manifest.fusion
    rankings: dict[str, dict[str, dict[str, float]]] = {mode: {} for mode in WAYS}
    seconds = []
    for identity, query in collection.queries.items():
        found: dict[str, dict[str, float]] = {}
        for mode in WAYS[:-1]:
            begun = time.perf_counter()
            hits = index.search(query, PART_DEPTH, Mode(mode))
            if mode == Mode.HYBRID:
                seconds.append(time.perf_counter() - begun)
            found[mode] = {hit.document: hit.score for hit in reversed(hits)}  # of a document in parts, the best
        found[HALF] = in_halves(found[Mode.DENSE], found[Mode.BM25])
        for mode, scores in found.items():
            rankings[mode][identity] = scores
    promised = (
        f"promised {fusion.gain:+.4f} nDCG@10 on dev" if fusion.gain is not None else "not chosen: too few queries"
    )
    print(
        f"\n{home.name}, {name} ({len(collection.queries):,} queries by people; {np.median(seconds) * 1000:.0f} ms "
        f"a hybrid query; share of vectors {fusion.dense:.1f}, {promised})"
    )
    print("  " + "".join(f"{metric:>11}" for metric in ("", *METRICS)))
    for mode, ranking in rankings.items():
        per_query = score_rankings(collection, mode, ranking).per_query.values()
        means = [float(np.mean([row[metric] for row in per_query])) for metric in METRICS]
        print(f"  {mode:>11}" + "".join(f"{mean:>11.4f}" for mean in means))


def in_halves(dense: dict[str, float], words: dict[str, float]) -> dict[str, float]:
    """Return the scores of vectors and words together, as one joins them that has nothing to choose by."""
    names = list({**dense, **words})
    numbers = {name: number for number, name in enumerate(names)}
    parts = [{numbers[name]: score for name, score in part.items()} for part in (dense, words)]
    return {names[number]: score for number, score in join(*parts, 0.5).items()}


if __name__ == "__main__":
    prepare_process()
    main()
