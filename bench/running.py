"""What several benchmarks share: runs of the pipeline in a process of their own, and what their stages took.

On a machine that others use the wall clock tells what the others do. The processor's clock counts what the
pipeline itself computes: on one thread (OMP_NUM_THREADS=1) that is what the wall would say on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hfembed.cli_base import prepare_process
from hfembed.events import Event
from hfembed.run import Run

ENCODING = "encoding "
WALL, PROCESSOR = "wall", "processor"


def processor_seconds() -> float:
    """Return what this process and its finished children have computed so far."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


CLOCKS: dict[str, Callable[[], float]] = {WALL: time.perf_counter, PROCESSOR: processor_seconds}


@dataclass(frozen=True)
class Task:
    """A run: what it is given, and by which clock it is measured."""

    corpus: str
    home: str
    base: str
    clock: str
    preset: str = "instant"
    settings: Sequence[str] = ()
    until: str = "evaluate"
    rerun: str | None = None


@dataclass(frozen=True)
class Ran:
    """A run that ended, and the seconds of its stages; encoding is a part of them."""

    run: Run
    seconds: dict[str, float]
    encoding: dict[str, float]


class Watch:
    """Listens to the pipeline, and takes the time of stages and of encoding in them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Measure by this clock."""
        self._clock = clock
        self._last: Event | None = None
        self._started: dict[str, float] = {}
        self._since = self._until = 0.0
        self.seconds: dict[str, float] = {}
        self.encoding: dict[str, float] = defaultdict(float)

    def __call__(self, event: Event) -> None:
        """Take the time of an event."""
        now = self._clock()
        encoding = event if event.kind == "progress" and event.message.startswith(ENCODING) else None
        goes_on = encoding and self._last and encoding.message == self._last.message and encoding.done > 0
        if self._last and not goes_on:
            self.encoding[self._last.stage] += self._until - self._since
        if encoding and not goes_on:
            self._since = now
        self._last, self._until = encoding, now
        if event.kind == "start":
            self._started[event.stage] = now
        elif event.kind == "done":
            self.seconds[event.stage] = now - self._started[event.stage]


def run_pipeline(task: Task) -> Ran:
    """Run the pipeline in a process of its own."""
    command = [sys.executable, __file__, json.dumps(asdict(task))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Ran(Run.open(Path(task.home)), took["seconds"], took["encoding"])


def add_clock(parser: argparse.ArgumentParser) -> None:
    """Let the user choose the clock."""
    parser.add_argument("--clock", choices=CLOCKS, default=WALL, help="processor: on a machine that others use")


def main() -> None:
    """Run one task, in this process, and print what its stages took."""
    from hfembed import pipeline
    from hfembed.recipe import make_recipe

    task = Task(**json.loads(sys.argv[1]))
    recipe = make_recipe(task.preset, settings=task.settings, options={"corpus": task.corpus, "base": task.base})
    watch = Watch(CLOCKS[task.clock])
    pipeline.run(recipe, Run(Path(task.home)), until=task.until, rerun=task.rerun, listeners=[watch])
    print(json.dumps({"seconds": watch.seconds, "encoding": watch.encoding}))


if __name__ == "__main__":
    prepare_process()
    main()
