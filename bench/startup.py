"""Measure how long the command line keeps people waiting before it works.

    python bench/startup.py [FINISHED_RUN]

Prints the median of five starts of bare Python, `hfembed --help` and, given a finished run, of the same
`hfembed run` once more, which has nothing to do; each also as a multiple of bare Python's start.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from hfembed.run import Run

STARTS = 5


def main() -> None:
    """Time each command and print a table."""
    commands = {"python -c pass": ["-c", "pass"], "import hfembed": ["-c", "import hfembed"]}
    commands["hfembed --help"] = ["-m", "hfembed", "--help"]
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        commands["hfembed run, all done"] = [
            "-m", "hfembed", "run", str(folder / "recipe.yaml"), "--run", str(folder), "--until", last_stage(folder),
        ]  # fmt: skip
    bare = None
    for name, arguments in commands.items():
        seconds = statistics.median(once(arguments) for _ in range(STARTS))
        bare = bare or seconds
        print(f"{name:24} {seconds:6.3f} s  {seconds / bare:5.1f} x")


def last_stage(folder: Path) -> str:
    """Return the last finished stage of a run."""
    from hfembed.pipeline import manifests

    return list(manifests(Run.open(folder)))[-1]


def once(arguments: list[str]) -> float:
    """Start Python with arguments and return the seconds until it ended."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
