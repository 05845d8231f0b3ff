"""Measure what two parts of the preset apex are worth: its balanced sampler, and ending before all is learned.

    python bench/apex.py [CORPUS] [--base MODEL] [--passes 3] [--set KEY=VALUE ...] [--work DIR] [--clock processor]

CORPUS is anything that hfembed reads, by default the sample; where it is a folder in BEIR layout with queries by
people, these are asked as well, after everything else is done. The preset runs from pull to evaluate; every other
row goes on from a copy of that run and does again what differs alone, so all of them have the same queries, entity
maps and held-out test.

The first table has the negatives picked balanced, at random and from the top of the candidates. The second has the
preset's own end, the same phase to the end of its epoch, and --passes epochs, where the last weights are kept. hit@1
is how often the right document comes first, on plain texts and on entity maps, with the interval of a bootstrap. Most
used: how often one document is a negative, of what the balanced sampler allows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from running import Ran, Task, add_clock, run_pipeline

from hfembed.cli_base import prepare_process
from hfembed.corpus import Documents
from hfembed.embed import Embedder
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.task import score_embedder
from hfembed.hub import local_model
from hfembed.mine.usage import Usage
from hfembed.pipeline import manifests
from hfembed.recipe import DEFAULT_BASE
from hfembed.run import LAYOUT, Run
from hfembed.stage import locate_encoder

PHASE = "train.phases.0"
# One look at dev, at the end: the last weights are kept.
WHOLE = (f"{PHASE}.stop.preconvergence=null", f"{PHASE}.stop.forgetting=null", f"{PHASE}.stop.looks=1")
METRIC = "hit@1"
VIEWS = ("plain", "entity_map")


@dataclass(frozen=True)
class Row:
    """One variant: what its run says, and hit@1 on queries by people where there are any."""

    name: str
    seconds: float
    sampler: dict[str, Any]
    phase: dict[str, Any]
    views: dict[str, Any]
    people: float | None

    @property
    def steps(self) -> int:
        """How many steps were done."""
        last: int = self.phase["looks"][-1]["step"]
        return last


class Bench:
    """The runs of one corpus, each in a folder of its own."""

    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        self.arguments, self.work = arguments, work
        self.people = read_people(arguments.corpus)
        self.first: Ran | None = None

    def run(self, name: str, *settings: str, again: str | None = None) -> Row:
        """Run the preset with settings, from a copy of the first run where there is one."""
        home = self.work / name.replace(" ", "-")
        if self.first is not None:
            shutil.copytree(self.first.run.folder, home, dirs_exist_ok=True)
        arguments = self.arguments
        ran = run_pipeline(
            Task(
                corpus=arguments.corpus, home=str(home), base=arguments.base, clock=arguments.clock, preset="apex",
                settings=[*arguments.settings, *settings], until="evaluate", rerun=again if self.first else None,
            )
        )  # fmt: skip
        self.first = self.first or ran
        done = manifests(ran.run)
        views = json.loads(ran.run.path(LAYOUT.report).read_text(encoding="utf-8"))["views"]
        (phase,) = done["train"].facts["phases"]
        sampler = {**done["mine"].facts["sampler"], **usage_of(ran.run)}
        return Row(name, ran.seconds["train"], sampler, phase, views, self.ask_people(ran))

    def ask_people(self, ran: Ran, base: bool = False) -> float | None:
        """Return hit@1 of the tuned model, or the base, on queries by people."""
        if self.people is None:
            return None
        source = (
            locate_encoder(str(ran.run.path(LAYOUT.recipe)))
            if base
            else local_model("tuned", ran.run.path(LAYOUT.model))
        )
        scores = score_embedder(self.people, Embedder(source, ran.run.path(LAYOUT.embeddings)), "model")
        return float(np.mean([values[METRIC] for values in scores.per_query.values()]))


def main() -> None:
    """Run all variants and print two tables."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(arguments, arguments.work or Path(temporary))
        own = bench.run("balanced")
        assert bench.first is not None
        show_base(own, bench.ask_people(bench.first, base=True))
        samplers = [bench.run(kind, f"mine.sampler.type={kind}", again="mine") for kind in ("random", "top")]
        show_samplers([own, *samplers])
        # Trained again, so that its seconds hold what those of the others hold: loading the libraries, too.
        early = bench.run("apex", again="train")
        epoch = bench.run("one epoch", *WHOLE, again="train")
        passes = bench.run(f"{arguments.passes} epochs", *WHOLE, f"{PHASE}.epochs={arguments.passes}", again="train")
        show_endings([early, epoch, passes])


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", default="sample")
    parser.add_argument("--base", default=DEFAULT_BASE)
    parser.add_argument("--passes", type=int, default=3, help="epochs of full training")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--work", type=Path, help="keep the runs here")
    add_clock(parser)
    return parser.parse_args()


def read_people(corpus: str) -> Collection | None:
    """Read the queries by people of a folder in BEIR layout."""
    there = (Path(corpus) / "qrels" / "test.tsv").is_file()
    return Collection.read(Path(corpus), "HumanQueries") if there else None


def usage_of(run: Run) -> dict[str, float]:
    """Return how evenly documents serve as negatives, whoever picked them."""
    place = {identity: row for row, identity in enumerate(Documents.read(run.path(LAYOUT.documents)).ids)}
    table = pq.read_table(run.path(LAYOUT.train))
    names = [name for name in table.column_names if name.startswith("negative_") and name.endswith("_id")]
    columns = zip(table["query"].to_pylist(), *(table[name].to_pylist() for name in names), strict=True)
    served = {query: [place[one] for one in ids if one in place] for query, *ids in columns}
    usage = Usage(len(place), sum(map(len, served.values())))
    for rows in served.values():
        usage.add(rows)
    return usage.describe()


def show_base(row: Row, people: float | None) -> None:
    """Print what the base does."""
    shown = [f"{view} {row.views[view]['base']:.4f}" for view in VIEWS] + (
        [] if people is None else [f"people {people:.4f}"]
    )
    print(f"{METRIC} of the base: {', '.join(shown)}", flush=True)


def show_samplers(rows: Sequence[Row]) -> None:
    """Print the first table."""
    print(f"\n{'negatives':12}{'near':>7}{'Gini':>7}{'most used':>11}{'steps':>7}{heads()}")
    for row in rows:
        said = row.sampler
        used = f"{said['most_used']} of {said['usage_cap']}"
        near = f"{said['near_share']:.2f}" if "near_share" in said else "-"
        print(f"{row.name:12}{near:>7}{said['gini']:7.2f}{used:>11}{row.steps:7,}{cells(row)}", flush=True)


def show_endings(rows: Sequence[Row]) -> None:
    """Print the second table."""
    print(f"\n{'training':12}{'steps':>7}{'planned':>9}{'kept':>7}{'seconds':>9}{heads()}  ended by")
    for row in rows:
        ending = row.phase.get("ending", {})
        kept = ending.get("kept_step", row.steps)
        planned, rule = row.phase["planned_steps"], ending.get("rule") or "its last step"
        pilot = f", after a pilot of {row.phase['pilot']['steps']} steps" if "pilot" in row.phase else ""
        print(
            f"{row.name:12}{row.steps:7,}{planned:9,}{kept:7,}{row.seconds:9.1f}{cells(row)}  {rule}{pilot}", flush=True
        )
    own, *others = rows
    for row in others:
        print(f"apex against {row.name}: {own.seconds / row.seconds:.2f} times its seconds, ", end="")
        print(
            ", ".join(f"{own.views[view]['tuned'] - row.views[view]['tuned']:+.4f} {METRIC} {view}" for view in VIEWS)
        )


def heads() -> str:
    """Return the heads of the columns of scores."""
    return f"{'hit@1 plain':>26}{'hit@1 entity map':>26}{'people':>9}"


def cells(row: Row) -> str:
    """Return the scores of a row."""
    shown = ""
    for view in VIEWS:
        low, high = row.views[view]["ci"]["tuned"]
        shown += f"{row.views[view]['tuned']:10.4f} ({low:.3f} to {high:.3f})".rjust(26)
    return shown + (f"{'-':>9}" if row.people is None else f"{row.people:9.4f}")


if __name__ == "__main__":
    prepare_process()
    main()
