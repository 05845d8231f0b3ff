"""Measure the published systems side by side: what each preset makes of a corpus, in its own headline metric.

    python bench/systems.py [FOLDER ...] [--presets nemotron,nv-small,...] [--base MODEL] [--decoder MODEL] [--steps N]
        [--batch N] [--looks N] [--set KEY=VALUE ...] [--until STAGE] [--runs DIR] [--llm ENDPOINT --llm-model NAME]

FOLDER is a collection in BEIR layout with queries by people, by default the sample. A run of every preset reads its
documents alone. Encoders start from all-MiniLM-L6-v2, bmretriever from --decoder or a tiny GPT-NeoX with random
weights, which shows that everything runs and nothing about quality. Without --llm the language model is the scripted
server of the tests, whose queries are cut from the documents. --steps bounds every phase, because whole epochs of all
weights take hours on a CPU; a run that is bounded so is no measure of what the preset can do.

Prints for each preset its stages and their seconds, then base and tuned on the run's held-out queries and on the
queries by people (the base as it comes or as the run uses it, whichever finds more); the metrics that the system's
paper leads with are marked by a star.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from hfembed.recipe import Recipe, Tuning, make_recipe
from hfembed.resources import sample_folder
from hfembed.run import LAYOUT, Run
from hfembed.stage import Sources

TESTS = Path(__file__).resolve().parent.parent / "tests"
# The metrics that each system is known by.
HEADLINES = {
    "nemotron": ("ndcg@10", "recall@10"),
    "nv-small": ("ndcg@10",),
    "neuromap": ("hit@1", "mrr@10"),
    "bmretriever": ("ndcg@10",),
    "apex": ("hit@1",),
}
METRICS = ("ndcg@10", "recall@10", "mrr@10", "hit@1")
WRITTEN = ("nemotron", "nv-small")  # by a language model
DECODERS = ("bmretriever",)
ORDER = ("base", "tuned", "sparse", "multi_vector", "fused")


def main() -> None:
    """Run every preset on every folder."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as temporary, language_model(arguments, Path(temporary)) as endpoint:
        runs = arguments.runs or Path(temporary)
        for folder in arguments.folders or [sample_folder()]:
            for preset in arguments.presets.split(","):
                target = Run(runs / folder.name / preset)
                recipe = recipe_for(preset, folder, arguments, endpoint, Path(temporary))
                pipeline.run(recipe, target, until=arguments.until)
                show(folder.name, preset, target)
                measure(folder, preset, target)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--presets", default=",".join(HEADLINES))
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--decoder", help="a causal language model for bmretriever")
    parser.add_argument("--steps", type=int, help="most optimiser steps of a phase")
    parser.add_argument("--batch", type=int, help="most rows of a step")
    parser.add_argument("--looks", type=int, help="times that a phase looks at dev")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--until", default="export")
    parser.add_argument("--runs", type=Path, help="keep the runs here")
    parser.add_argument("--llm", help="address of an OpenAI-compatible server")
    parser.add_argument("--llm-model", default="scripted")
    return parser.parse_args()


@contextmanager
def language_model(arguments: argparse.Namespace, work: Path) -> Iterator[str]:
    """Yield the address of the language model; without one of yours, of the scripted one, for as long as it is needed."""
    if arguments.llm or not set(WRITTEN) & set(arguments.presets.split(",")):
        yield arguments.llm or ""
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(TESTS / "llm_server.py"), "--port", str(port), "--log", str(work / "llm.log")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def wait_for(address: str) -> None:
    """Wait until a server answers, whatever it says."""
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{address} does not answer.")


def recipe_for(preset: str, folder: Path, arguments: argparse.Namespace, endpoint: str, work: Path) -> Recipe:
    """Return the recipe of a preset over a folder, its phases bounded."""
    options: dict[str, Any] = {"corpus": str(folder), "base": base_for(preset, arguments, work)}
    if preset in WRITTEN:
        options |= {"generate.llm.endpoint": endpoint, "generate.llm.model": arguments.llm_model}
    made = make_recipe(preset, settings=arguments.settings, options=options)
    phases = [bounded(phase, arguments) for phase in made.train.phases]
    return made.model_copy(update={"train": made.train.model_copy(update={"phases": phases})})


def bounded(phase: Any, arguments: argparse.Namespace) -> Any:
    """Return a phase with no more steps, rows of a step and looks than are asked for."""
    if not isinstance(phase, Tuning):
        return phase
    changes: dict[str, Any] = {}
    if arguments.steps:
        changes["steps"] = min(arguments.steps, phase.steps or arguments.steps)
    if arguments.batch:
        changes["batch_size"] = rows = min(arguments.batch, phase.batch_size)
        changes |= {"accumulate": min(phase.accumulate, max(1, arguments.batch // rows)), "smaller_below": None}
    if arguments.looks:
        changes["stop"] = phase.stop.model_copy(update={"looks": arguments.looks})
    return phase.model_copy(update=changes)


def base_for(preset: str, arguments: argparse.Namespace, work: Path) -> str:
    """Return the model that a preset starts from."""
    if preset not in DECODERS:
        return str(arguments.base)
    if arguments.decoder:
        return str(arguments.decoder)
    sys.path.insert(0, str(TESTS))
    from decoders import make_decoder

    folder = work / "decoder"
    return str(folder if folder.exists() else make_decoder(folder, "gpt_neox"))


def show(corpus: str, preset: str, target: Run) -> None:
    """Print what the stages took, and the held-out test."""
    stages = pipeline.manifests(target)
    took = ", ".join(f"{name} {found.seconds:.0f} s" for name, found in stages.items())
    peak = max(found.peak_mb for found in stages.values())
    print(f"\n{preset} on {corpus}: {took}; peak {peak:,.0f} MB")
    report = json.loads(target.path(LAYOUT.report).read_text(encoding="utf-8"))
    print(f"  held-out ({report['queries']:,} queries): {report['verdict']}")
    show_metrics(preset, report["metrics"])


def measure(folder: Path, preset: str, target: Run) -> None:
    """Print what the queries by people say."""
    if not (folder / "queries.jsonl").is_file():
        return
    collection = Collection.read(folder, "HumanQueries")
    model, embeddings = target.path(LAYOUT.model), target.path(LAYOUT.embeddings)
    base = measure_base(collection, Sources(target.recipe()), embeddings, silent())
    tuned = Embedder(local_model("tuned", model), embeddings)
    scores: dict[str, Any] = {
        "base": base.scores,
        "tuned": score_embedder(collection, tuned, "tuned"),
        **score_heads(model, collection, tuned, target.folder, silent()),
    }
    said = base.in_words()
    print(f"  by people ({len(collection.queries):,} queries{f'; {said}' if said else ''})")
    rows = {name: list(found.per_query.values()) for name, found in scores.items()}
    show_metrics(
        preset,
        {
            metric: {name: float(np.mean([row[metric] for row in found])) for name, found in rows.items()}
            for metric in METRICS
        },
    )


def show_metrics(preset: str, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Print base, tuned and heads by metric."""
    for metric in METRICS:
        row = metrics[metric]
        star = "*" if metric in HEADLINES.get(preset, ()) else " "
        others = "".join(f"  {name} {row[name]:.4f}" for name in ORDER[2:] if name in row)
        gain = f"{row['tuned'] / row['base'] - 1:+.1%}" if row["base"] else "from 0"
        print(f"   {star}{metric:10} base {row['base']:.4f}  tuned {row['tuned']:.4f}  {gain}{others}", flush=True)


if __name__ == "__main__":
    prepare_process()
    main()
