"""Measure Ray on this machine against this process alone: encoding, writing queries and mining as the corpus grows.

    python bench/engines.py [--documents 100000 | --sizes 1000,10000,100000] [--base MODEL] [--cores N]
        [--set KEY=VALUE ...]

Each size is a corpus of that many made-up documents of about 60 words; each engine does pull, generate and mine of
it in a process of its own, from the same settings: at most 20,000 documents get queries, as in every run, unless
--set says otherwise. Prints the seconds of encoding, of the rest of generate and of the rest of mine, and those of
the whole process, start and end of Ray included; the ratio, above 1 where Ray is faster; whether the triplets are
the same bytes; and the size from which Ray pays, told from a straight line through the two largest sizes of each.
--cores N gives both engines so many cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from words import write_corpus

from hfembed import pipeline
from hfembed.cli_base import prepare_process
from hfembed.engine import EngineName, using
from hfembed.events import Event
from hfembed.recipe import make_recipe
from hfembed.run import LAYOUT, Run, hash_file

LENGTH = 60
ROWS = ("encoding", "generate", "mine", "whole")
ENCODING = "encoding "


@dataclass(frozen=True)
class Taken:
    """Seconds by what was done, and the hash of the triplets that came of it."""

    seconds: dict[str, float]
    triplets: str


def main() -> None:
    """Measure every size with both engines, or do one measured run."""
    arguments = parse()
    if arguments.worker:
        print(json.dumps(work(arguments)))
        return
    measured: dict[int, dict[str, Taken]] = {}
    for size in map(int, (arguments.sizes or str(arguments.documents)).split(",")):
        with tempfile.TemporaryDirectory() as folder:
            write_corpus(Path(folder) / "corpus.jsonl", size, LENGTH)
            measured[size] = {name: start(name, folder, arguments) for name in EngineName}
        show(size, measured[size])
    if len(measured) > 1:
        print(pays(measured))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--sizes", help="numbers of documents, separated by commas, instead of --documents")
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--cores", type=int, help="so many cores for each engine; all if not given")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--worker", choices=list(EngineName), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def start(name: str, folder: str, arguments: argparse.Namespace) -> Taken:
    """Let one engine work in a process of its own."""
    command = [sys.executable, __file__, "--worker", name, "--folder", folder, "--base", arguments.base]
    command += [part for setting in arguments.settings for part in ("--set", setting)]
    if arguments.cores:
        command = ["taskset", "--cpu-list", f"0-{arguments.cores - 1}", *command]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
    told = json.loads(done.stdout.splitlines()[-1])
    return Taken({**told["seconds"], "whole": time.perf_counter() - began}, told["triplets"])


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pull, generate and mine with one engine."""
    prepare_process()
    corpus = arguments.folder / "corpus.jsonl"
    recipe = make_recipe(settings=arguments.settings, options={"corpus": str(corpus), "base": arguments.base})
    run, seconds, encoding = Run(arguments.folder / arguments.worker), {}, defaultdict(dict)

    def hear(event: Event) -> None:
        if event.kind == "done":
            seconds[event.stage] = event.seconds
        if event.kind == "progress" and event.message.startswith(ENCODING):
            encoding[event.stage][event.message] = event.seconds

    with using(EngineName(arguments.worker)):
        pipeline.run(recipe, run, until="mine", listeners=[hear])
    spent = {stage: sum(tasks.values()) for stage, tasks in encoding.items()}
    rest = {name: seconds[name] - spent.get(name, 0.0) for name in ("generate", "mine")}
    return {"seconds": {**rest, "encoding": sum(spent.values())}, "triplets": hash_file(run.path(LAYOUT.train))}


def show(size: int, taken: dict[str, Taken]) -> None:
    """Print one size."""
    ours, theirs = taken[EngineName.RAY], taken[EngineName.LOCAL]
    same = "the same triplets, byte for byte" if ours.triplets == theirs.triplets else "OTHER TRIPLETS"
    print(f"\n{size:,} documents: {same}")
    print(f"{'':12}{'local':>12}{'ray':>12}{'local / ray':>14}")
    for row in ROWS:
        print(f"{row:12}{theirs.seconds[row]:>12.1f}{ours.seconds[row]:>12.1f}"
              f"{theirs.seconds[row] / ours.seconds[row]:>14.2f}", flush=True)  # fmt: skip


def pays(measured: dict[int, dict[str, Taken]]) -> str:
    """Say from what size Ray pays: where the lines through the two largest sizes of each engine meet."""
    small, large = sorted(measured)[-2:]
    slope, begin = {}, {}
    for name in EngineName:
        low, high = (measured[size][name].seconds["whole"] for size in (small, large))
        slope[name] = (high - low) / (large - small)
        begin[name] = high - slope[name] * large
    gain = slope[EngineName.LOCAL] - slope[EngineName.RAY]
    cost = begin[EngineName.RAY] - begin[EngineName.LOCAL]
    if gain <= 0:
        return "\nRay does not pay here at any size: each document takes it as long, or longer."
    return (
        f"\nRay costs {cost:.0f} s and saves {1_000 * gain:.1f} s per 1,000 documents: it pays from about "
        f"{max(0, cost / gain):,.0f} documents."
    )


if __name__ == "__main__":
    main()
