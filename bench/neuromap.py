"""Measure the heads of neuromap: each alone, all together, and what is lost without one of them or without teaching.

    python bench/neuromap.py COLLECTION [--base MODEL] [--steps N] [--batch N] [--set KEY=VALUE ...] [--work DIR]
    python bench/neuromap.py ONTOLOGY.obo [...]

COLLECTION is a folder in BEIR layout with queries by people, or an ontology, which has none. A run of the preset
reads the documents alone, up to mining; from there each variant is trained on the same rows: the whole, without the
sparse head, without the multi-vector head, without self-distillation, and without the second phase. Prints hit@1 and
MRR@10 of the one vector before and after, of each head and of all together, on the run's held-out queries and on the
queries by people, and whether all together are at least as good as the best head.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hfembed import pipeline
from hfembed.cli_base import prepare_process
from hfembed.embed import Embedder
from hfembed.evaluate.base import measure_base
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.heads import score_heads
from hfembed.evaluate.task import score_embedder
from hfembed.events import silent
from hfembed.hub import local_model
from hfembed.recipe import Recipe, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import Sources

METRICS = ("hit@1", "mrr@10", "ndcg@10")
VARIANTS: dict[str, list[str]] = {
    "whole": [],
    "no sparse head": ["train.heads.sparse=false"],
    "no multi-vector head": ["train.heads.multi_vector=false"],
    "no self-distillation": ["train.phases.0.self_distill.enabled=false"],
    "no second phase": [],
}
ORDER = ("base", "dense", "sparse", "multi_vector", "fused")


def main() -> None:
    """Train every variant and print a table of each."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        mined = Run(work / "mined")
        pipeline.run(recipe_for(arguments, "whole"), mined, until="mine")
        collections = {"held-out": Collection.read(mined.path(LAYOUT.test), "HeldOut")}
        if (arguments.corpus / "queries.jsonl").is_file():
            collections["people"] = Collection.read(arguments.corpus, "HumanQueries")
        for variant in arguments.variants.split(","):
            target = Run(work / variant.replace(" ", "-"))
            if not target.folder.exists():
                shutil.copytree(mined.folder, target.folder)
            started = time.perf_counter()
            pipeline.run(recipe_for(arguments, variant), target, until="train")
            seconds = time.perf_counter() - started
            for name, collection in collections.items():
                show(variant, name, score(target, collection), len(collection.queries), seconds)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--steps", type=int, default=60, help="of the first phase; the second has half of them")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--work", type=Path, help="keep the runs here")
    return parser.parse_args()


def recipe_for(arguments: argparse.Namespace, variant: str) -> Recipe:
    """Return the recipe of a variant."""
    steps = {0: arguments.steps, 1: arguments.steps // 2}
    settings = [f"train.phases.{phase}.steps={count}" for phase, count in steps.items()]
    settings += [f"train.phases.{phase}.batch_size={arguments.batch}" for phase in steps]
    options = {"corpus": str(arguments.corpus), "base": arguments.base}
    made = make_recipe("neuromap", settings=[*settings, *VARIANTS[variant], *arguments.settings], options=options)
    if variant != "no second phase":
        return made
    return made.model_copy(update={"train": made.train.model_copy(update={"phases": made.train.phases[:1]})})


def score(target: Run, collection: Collection) -> dict[str, dict[str, float]]:
    """Return the metrics of base, of the one vector and of the heads."""
    folder, embeddings = target.path(LAYOUT.model), target.path(LAYOUT.embeddings)
    dense = Embedder(local_model("tuned", folder), embeddings)
    scores: dict[str, Any] = {
        "base": measure_base(collection, Sources(target.recipe()), embeddings, silent()).scores,
        "dense": score_embedder(collection, dense, "tuned"),
        **score_heads(folder, collection, dense, target.folder, silent()),
    }
    return {name: means(found.per_query) for name, found in scores.items()}


def means(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of every metric."""
    return {metric: float(np.mean([row[metric] for row in per_query.values()])) for metric in METRICS}


def show(variant: str, name: str, scores: dict[str, dict[str, float]], queries: int, seconds: float) -> None:
    """Print one variant on one set of queries."""
    heads = [head for head in ORDER if head in scores]
    print(f"{variant}, {queries:,} {name} queries (trained in {seconds:.0f} s)", flush=True)
    for metric in METRICS:
        print(f"  {metric:8} " + "  ".join(f"{head} {scores[head][metric]:.4f}" for head in heads), flush=True)
    best = max(scores[head]["mrr@10"] for head in heads if head != "fused")
    print(f"  fused / best of the others, MRR@10: {scores['fused']['mrr@10'] / best:.3f}", flush=True)


if __name__ == "__main__":
    prepare_process()
    main()
