"""Measure what a run of `instant` takes as the corpus grows: seconds and memory of every stage.

    python bench/scale.py [--sizes 1000,10000,100000] [--base MODEL] [--until STAGE] [--set KEY=VALUE ...]
        [--clock processor] [--work DIR]

Each size is a corpus of that many made-up documents of about 60 words, run in a process of its own. Prints by
stage the seconds and the peak memory, and how the seconds grow from each size to the next: the exponent e of
seconds ~ documents^e, 1 where twice the documents take twice as long. Encoding is counted apart, wherever it
happens: it is the share of the whole that the base model takes. Stages that grow faster than linearly are named;
so is a peak of more than 4 GB.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from running import Task, add_clock, run_pipeline
from words import write_corpus

from hfembed.cli_base import prepare_process
from hfembed.pipeline import NAMES, manifests

LENGTH = 60
# Below this many seconds a stage is start-up and noise.
WORTH_NAMING = 5.0
LINEAR = 1.1
MAX_MB = 4_096


@dataclass(frozen=True)
class Taken:
    """Seconds and MB by stage; encoding is part of the stages' seconds."""

    documents: int
    seconds: Mapping[str, float]
    encoding: Mapping[str, float]
    megabytes: Mapping[str, float]
    strength: float

    @property
    def rows(self) -> dict[str, float]:
        """The seconds of all that the table has a row for."""
        own = {name: seconds - self.encoding.get(name, 0.0) for name, seconds in self.seconds.items()}
        return {**own, "encoding": sum(self.encoding.values()), "all": sum(self.seconds.values())}


def main() -> None:
    """Measure every size and print one table."""
    arguments = parse()
    taken: list[Taken] = []
    for size in map(int, arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            taken.append(measure(size, (arguments.work or Path(temporary)) / str(size), arguments))
        show(taken)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000", help="numbers of documents, separated by commas")
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--until", default="export", choices=NAMES[:-1])
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--work", type=Path, help="keep the runs here")
    add_clock(parser)
    return parser.parse_args()


def measure(size: int, work: Path, arguments: argparse.Namespace) -> Taken:
    """Run one size."""
    work.mkdir(parents=True, exist_ok=True)
    corpus = work / "corpus.jsonl"
    write_corpus(corpus, size, LENGTH)
    task = Task(
        corpus=str(corpus),
        home=str(work / "run"),
        base=arguments.base,
        clock=arguments.clock,
        settings=arguments.settings,
        until=arguments.until,
    )
    ran = run_pipeline(task)
    done = manifests(ran.run)
    return Taken(
        size,
        ran.seconds,
        ran.encoding,
        {name: manifest.peak_mb for name, manifest in done.items()},
        done["train"].facts["choice"]["strength"] if "train" in done else 0.0,
    )


def show(taken: Sequence[Taken]) -> None:
    """Print the table of all sizes so far, and what is too slow or too large."""
    print(f"\n{'documents':10}" + "".join(f"{one.documents:>24,}" for one in taken))
    print(f"{'':10}" + f"{'seconds':>10}{'MB':>7}{'growth':>7}" * len(taken))
    for name in taken[-1].rows:
        print(f"{name:10}", end="")
        for before, one in zip([None, *taken], taken, strict=False):
            memory = one.megabytes.get(name, max(one.megabytes.values()) if name == "all" else None)
            growth = None if before is None else exponent(before, one, name)
            print(f"{one.rows[name]:10.1f}{text(memory, ',.0f'):>7}{text(growth, '.2f'):>7}", end="")
        print()
    last = taken[-1]
    print(
        f"encoding is {last.rows['encoding'] / last.rows['all']:.0%} of the time at {last.documents:,} documents; "
        "strength of the map: " + ", ".join(f"{one.strength:g}" for one in taken)
    )
    for before, one in pairwise(taken):
        slow = [n for n in one.rows if one.rows[n] >= WORTH_NAMING and exponent(before, one, n) > LINEAR]
        if slow:
            print(f"faster than linear from {before.documents:,} to {one.documents:,} documents: {', '.join(slow)}")
    for name, megabytes in last.megabytes.items():
        if megabytes > MAX_MB:
            print(f"{name} holds {megabytes:,.0f} MB at {last.documents:,} documents: more than {MAX_MB:,}")


def exponent(before: Taken, after: Taken, name: str) -> float:
    """Return the growth of a row's seconds from one size to the next."""
    ratio = max(after.rows[name], 1e-3) / max(before.rows[name], 1e-3)
    return math.log(ratio) / math.log(after.documents / before.documents)


def text(value: float | None, form: str) -> str:
    """Return a number as words, where there is one."""
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    prepare_process()
    main()
