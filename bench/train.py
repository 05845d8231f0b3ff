"""Measure hfembed's training against plain fine-tuning with sentence-transformers on the same pairs.

    python bench/train.py FOLDER [FOLDER ...] [--base MODEL] [--minutes N] [--presets instant,instant@1]
        [--clock processor] [--work DIR]

Each FOLDER is a collection in BEIR layout with queries by people. A run reads its corpus.jsonl alone, for every
preset; `PRESET@STRENGTH` sets train.strength instead of having it chosen. Then the published quick-start of
sentence-transformers (MultipleNegativesRankingLoss, no duplicates in a batch of 32, learning rate 2e-5, 10 % of
the steps to warm up, bf16 where the processor has it) learns the pairs that the first preset learned from (train
and dev, for hfembed learns from both in the end), once in the seconds of that preset's train stage, once for a
whole epoch or --minutes, whichever is less. How many steps fit is measured beforehand and not counted, so that
its learning rate falls to zero in the time it has.

Prints seconds, and nDCG@10 and Recall@10 on the queries by people and on the run's own held-out queries, with
their ratios to the base; then the held-out queries by kind. Encoding is what a run spent beforehand on
the vectors that its training reads; sentence-transformers encodes nothing beforehand.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from plain import Plan, fine_tune
from running import CLOCKS, Ran, Task, add_clock, run_pipeline

from hfembed.cli_base import prepare_process
from hfembed.embed import Embedder
from hfembed.evaluate.task import Collection, score_embedder
from hfembed.hub import ModelSource, local_model, locate_model
from hfembed.pipeline import manifests
from hfembed.run import LAYOUT, Run

METRICS = ("ndcg@10", "recall@10")
PEOPLE, HELD_OUT = "people", "held out"
Values = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One model: what its training took, and its means by collection and by kind of held-out query."""

    name: str
    detail: str
    train: float
    encoding: float
    means: Mapping[str, Values]
    kinds: Mapping[str, Values]


class Bench:
    """One collection, the runs on it, and a store of vectors."""

    def __init__(self, folder: Path, work: Path, arguments: argparse.Namespace) -> None:
        self.folder, self.work, self.base, self.clock = folder, work, arguments.base, arguments.clock
        self.runs: dict[str, Ran] = {}
        self.collections: dict[str, Collection] = {}

    @property
    def first(self) -> Run:
        """The run whose pairs, held-out queries and vectors serve for all."""
        return next(iter(self.runs.values())).run

    def run(self, variant: str) -> Ran:
        """Run a preset; with a strength of its own it goes on from what the preset has made before training."""
        preset, _, strength = variant.partition("@")
        goes_on = bool(strength) and preset in self.runs
        home = self.work / variant
        if goes_on:
            shutil.copytree(self.runs[preset].run.folder, home, dirs_exist_ok=True)
        task = Task(
            corpus=str(self.folder),
            home=str(home),
            base=self.base,
            clock=self.clock,
            preset=preset,
            settings=[f"train.strength={strength}"] if strength else [],
            rerun="train" if goes_on else None,
        )
        self.runs[variant] = ran = run_pipeline(task)
        return Ran(ran.run, ran.seconds, {**self.runs[preset].encoding, **ran.encoding}) if goes_on else ran

    def score(self, source: ModelSource, name: str, detail: str = "", train: float = 0.0, encoding: float = 0.0) -> Row:
        """Score a model on the queries by people and on the first run's held-out ones."""
        first = self.first
        if not self.collections:
            self.collections[PEOPLE] = Collection.read(self.folder, "HumanQueries")
            self.collections[HELD_OUT] = Collection.read(first.path(LAYOUT.test), "HeldOut")
        means, kinds = {}, {}
        for where, collection in self.collections.items():
            found = score_embedder(collection, Embedder(source, first.path(LAYOUT.embeddings)), "model").per_query
            means[where] = mean(list(found.values()))
            if where == HELD_OUT:
                names = collection.kinds
                kinds = {
                    kind: mean([values for query, values in found.items() if names[query] == kind])
                    for kind in sorted({names[query] for query in found})
                }
        return Row(name, detail, train, encoding, means, kinds)

    def of_run(self, variant: str) -> Row:
        """Run a preset and score what it trained."""
        ran = self.run(variant)
        facts = manifests(ran.run)["train"].facts
        detail = f"strength {facts['choice']['strength']:g}, {facts['fold']['kind']}"
        model = local_model(variant, ran.run.path(LAYOUT.model))
        # What train encodes itself is in its own seconds.
        return self.score(model, variant, detail, ran.seconds["train"], ran.encoding.get("mine", 0.0))

    def of_plain(self, name: str, seconds: float) -> Row:
        """Fine-tune with sentence-transformers for so many seconds at most, or an epoch, and score it."""
        plan = Plan(locate_model(self.base), read_pairs(self.first), seconds, CLOCKS[self.clock])
        trained = fine_tune(plan, self.work / name.replace(" ", "-"))
        detail = f"{trained.steps:,} of {trained.epoch:,} steps of an epoch"
        return self.score(local_model(name, trained.folder), name, detail, trained.seconds)


def main() -> None:
    """Measure every collection."""
    arguments = parse()
    for folder in arguments.folders:
        with tempfile.TemporaryDirectory() as temporary:
            bench = Bench(folder, (arguments.work or Path(temporary)) / folder.name, arguments)
            presets = arguments.presets.split(",")
            runs = [bench.of_run(variant) for variant in presets]
            rows = [bench.score(locate_model(arguments.base), "base"), *runs]
            same = bench.of_plain("plain, same time", runs[0].train)
            longest = bench.of_plain("plain, one epoch", arguments.minutes * 60)
            rows += [same, longest]
            show(bench, rows)
            show_kinds(rows)
            show_ratio(runs[0], longest)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--minutes", type=float, default=15, help="longest time for an epoch of sentence-transformers")
    parser.add_argument("--presets", default="instant,instant@1", help="separated by commas; the first is compared")
    parser.add_argument("--work", type=Path, help="keep runs and models here")
    add_clock(parser)
    return parser.parse_args()


def read_pairs(run: Run) -> dict[str, list[str]]:
    """Return the pairs that the run learned from in the end."""
    tables = [pq.read_table(run.path(path), columns=["query", "positive"]) for path in (LAYOUT.train, LAYOUT.dev)]
    return {name: [text for table in tables for text in table[name].to_pylist()] for name in ("query", "positive")}


def mean(found: Sequence[Values]) -> dict[str, float]:
    """Return the mean of the metrics over queries, and how many there are."""
    return {"queries": len(found), **{name: float(np.mean([values[name] for values in found])) for name in METRICS}}


def show(bench: Bench, rows: Sequence[Row]) -> None:
    """Print all models of one collection."""
    people, held_out = (rows[0].means[where]["queries"] for where in (PEOPLE, HELD_OUT))
    pairs = len(read_pairs(bench.first)["query"])
    print(f"\n{bench.folder.name}: {people:,} queries by people, {held_out:,} held-out ones, {pairs:,} pairs")
    print(f"{'':18}{'train s':>8}{'+ encoding':>11}{'  people nDCG@10':17}{'  Recall@10':17}", end="")
    print(f"{'  held out nDCG@10':19}{'  Recall@10':17}")
    for row in rows:
        took = f"{row.train:8.0f}{row.train + row.encoding:11.0f}" if row.train else " " * 19
        cells = [
            f"  {row.means[where][metric]:.4f} {row.means[where][metric] / rows[0].means[where][metric] - 1:+7.1%}"
            for where in (PEOPLE, HELD_OUT)
            for metric in METRICS
        ]
        print(f"{row.name:18}{took}{cells[0]:17}{cells[1]:17}{cells[2]:19}{cells[3]:17}  {row.detail}")


def show_kinds(rows: Sequence[Row]) -> None:
    """Print nDCG@10 and Recall@10 of the held-out queries by kind: of the base, and what each model adds."""
    print(f"{'held out by kind':18}{'queries':>8}", end="")
    print("".join(f"{row.name:>18}" for row in rows) + "   (nDCG@10, Recall@10)")
    for kind, base in rows[0].kinds.items():
        print(f"{kind:18}{base['queries']:8,}" + f"{base['ndcg@10']:11.4f} {base['recall@10']:.4f}", end="")
        for row in rows[1:]:
            gains = [row.kinds[kind][metric] / base[metric] - 1 for metric in METRICS]
            print(f"{gains[0]:+11.1%}{gains[1]:+7.1%}", end="")
        print()


def show_ratio(ours: Row, theirs: Row) -> None:
    """Print quality and time of the first preset against an epoch of plain fine-tuning."""
    quality = {where: ours.means[where]["ndcg@10"] / theirs.means[where]["ndcg@10"] for where in (PEOPLE, HELD_OUT)}
    print(
        f"{ours.name} against {theirs.name}: {quality[PEOPLE]:.3f} times its nDCG@10 on queries by people, "
        f"{quality[HELD_OUT]:.3f} on held-out ones, in {ours.train / theirs.train:.3f} of its time "
        f"({(ours.train + ours.encoding) / theirs.train:.3f} with the encoding before)",
        flush=True,
    )


if __name__ == "__main__":
    prepare_process()
    main()
