"""Measure where hard negatives come from: dense alone, BM25 alone, and both under one cap, on one finished run.

    python bench/sources.py RUN [--queries FOLDER] [--steps N] [--set SECTION.KEY=VALUE] [--work DIR]

RUN holds the results of pull and generate; what follows is done again for each source in a copy of it, with its own
recipe but for where candidates come from: mine, the training of the recipe's phases (--steps: so many of each), and
evaluate. `hfembed run SRC --preset nv-small --until generate` makes one; a run of any other preset will do, and
`--set` gives it phases. BM25 alone takes the best of BM25, both one of them and the nearest besides; every negative
stands under the cap by the model's own score. --queries: a BEIR folder over the same documents, with queries by people.

Prints a row for each source: what the negatives are (median share of the positive's score, share that the cap took of
the candidates, rows that were too short), and nDCG@10 of base and tuned on the held-out queries and on people's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from hfembed.cli_base import prepare_process
from hfembed.embed import Embedder
from hfembed.evaluate.base import measure_base
from hfembed.evaluate.task import Collection, score_embedder
from hfembed.events import silent
from hfembed.hub import local_model
from hfembed.pipeline import manifests, run_stage
from hfembed.recipe import Recipe, Tuning, apply_settings
from hfembed.run import LAYOUT, Run
from hfembed.stage import Sources

STAGES = ("mine", "train", "evaluate")
# What is copied of a run: what the stages before mine left, and the vectors that all share.
KEPT = ("recipe.yaml", "corpus", "triplets", "embeddings")
METRIC = "ndcg@10"


def sources(negatives: int) -> dict[str, list[str]]:
    """Return the settings of each row."""
    words = ["mine.sampler.type=mixed"]
    return {
        "dense": ["mine.sources=[dense]", "mine.sampler.type=top"],
        "bm25": ["mine.sources=[bm25]", *words, f"mine.sampler.bm25={negatives}"],
        "both": ["mine.sources=[dense,bm25]", *words, "mine.sampler.bm25=1"],
    }


def main() -> None:
    """Do all sources and print the table."""
    arguments = parse()
    start = Run.open(arguments.run)
    recipe = start.recipe()
    rows = {}
    for name, chosen in sources(recipe.mine.negatives).items():
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            rows[name] = measure(
                start, settled(recipe, [*chosen, *arguments.settings], arguments.steps), Path(folder), arguments
            )
            print(f"{name} done in {rows[name]['seconds']:.0f} s", flush=True)
    show(rows)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run that is generated")
    parser.add_argument("--queries", type=Path, help="a BEIR folder over the same documents, with queries by people")
    parser.add_argument("--steps", type=int, help="steps of each phase on the weights, instead of the recipe's")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="change one setting of all rows")
    parser.add_argument("--work", type=Path, help="where copies of the run stand for the time being")
    return parser.parse_args()


def settled(recipe: Recipe, settings: list[str], steps: int | None) -> Recipe:
    """Return the recipe of one row."""
    found = apply_settings(recipe.model_dump(mode="json"), settings)
    if steps is None:
        return found
    tuned = [at for at, phase in enumerate(found.train.phases) if isinstance(phase, Tuning)]
    short = [f"train.phases.{at}.steps={steps}" for at in tuned]
    return apply_settings(found.model_dump(mode="json"), short)


def measure(start: Run, recipe: Recipe, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Mine, train and evaluate in a copy of the run."""
    for name in KEPT:
        source = start.folder / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.is_file():
            shutil.copyfile(source, folder / name)
    run = Run(folder)
    began = time.perf_counter()
    for stage in STAGES:
        run_stage(stage, recipe, run)
    seconds = time.perf_counter() - began
    done = manifests(run)
    report: dict[str, Any] = done["evaluate"].facts
    mined = done["mine"].facts
    row = {
        "seconds": seconds, "ratio": mined["median_ratio"], "cut": mined["cap"]["share"],
        "short": mined["short_rows"]["share"], "outside": mined["outside_100"], "miners": mined["miners"],
        "verdict": report["verdict"], **held_out(run),
    }  # fmt: skip
    return row | (people(run, recipe, arguments.queries) if arguments.queries else {})


def held_out(run: Run) -> dict[str, float]:
    """Return the scores of the run's own test."""
    found = json.loads(run.path(LAYOUT.report).read_text(encoding="utf-8"))["metrics"][METRIC]
    return {"base": found["base"], "tuned": found["tuned"]}


def people(run: Run, recipe: Recipe, folder: Path) -> dict[str, float]:
    """Return the scores on queries by people."""
    collection = Collection.read(folder, "People")
    embeddings = run.path(LAYOUT.embeddings)
    tuned = Embedder(local_model("tuned", run.path(LAYOUT.model)), embeddings)
    scores = {
        "people base": measure_base(collection, Sources(recipe), embeddings, silent()).scores,
        "people tuned": score_embedder(collection, tuned, "tuned"),
    }
    return {
        name: sum(values[METRIC] for values in found.per_query.values()) / len(found.per_query)
        for name, found in scores.items()
    }


def show(rows: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    columns = {
        "s-/s+": "ratio", "cut by cap": "cut", "short rows": "short", "base": "base", "tuned": "tuned",
        "people base": "people base", "people tuned": "people tuned",
    }  # fmt: skip
    known = {title: key for title, key in columns.items() if any(key in row for row in rows.values())}
    print(
        f"\n{'':8}{''.join(f'{title:>14}' for title in known)}{'ratio':>9}{'seconds':>9}   negatives by miner; verdict"
    )
    for name, row in rows.items():
        values = "".join(f"{row[key]:>14.4f}" if row[key] is not None else f"{'-':>14}" for key in known.values())
        miners = ", ".join(f"{miner} {count:,}" for miner, count in row["miners"].items() if count)
        ratio = row["tuned"] / row["base"] if row["base"] else float("nan")
        print(f"{name:8}{values}{ratio:>9.3f}{row['seconds']:>9.0f}   {miners}; {row['verdict']}")
    outside = next((row["outside"] for row in rows.values() if row["outside"] is not None), None)
    if outside is not None:
        print(f"\nanswers below the miner's first hundred documents: {outside:.1%}")


if __name__ == "__main__":
    prepare_process()
    main()
