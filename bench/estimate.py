"""Measure how far the estimates of `hfembed run --on` are from what runs really take on this machine.

    python bench/estimate.py FOLDER [FOLDER ...] [--presets instant,thorough] [--sizes 250,1000,4000] [--base MODEL]
                             [--until STAGE] [--set KEY=VALUE ...]

Each FOLDER is a corpus; of each, runs of these many documents are estimated, done and compared, stage by stage, for
every preset; the table at the end has a line for each run, and the largest factor by which an estimate was off.
Prints the estimated seconds, the seconds they took, the seconds of processor time, and the ratio of the first two;
then how fast the base model encodes long and short texts per core, as hfembed/launch/rates.py keeps it. On a machine
that others use, bind it to one core and compare processor time: taskset -c 0 python bench/estimate.py --processor ...
What earlier runs taught is left out, so that the constants alone are measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hfembed.cli_base import prepare_process


def main() -> None:
    """Run every size of every corpus and print one table."""
    if sys.argv[1:2] == ["--child"]:
        clock(Path(sys.argv[2]), sys.argv[3])
        return
    arguments = parse()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    wanted = itertools.product(arguments.folders, arguments.presets.split(","), sizes)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["HFEMBED_CACHE"] = str(Path(temporary) / "cache")
        for number, (corpus, preset, size) in enumerate(wanted):
            found = compare(corpus, preset, size, Path(temporary) / str(number), arguments)
            rows.append((f"{corpus.name} {preset}, {size:,} documents", *found))
    print(f"\n{'':46}estimated      took  ratio")
    for what, estimated, took in rows:
        print(f"  {what:44} {estimated:8.0f}s {took:8.0f}s {took / estimated:6.2f}")
    worst = max(max(took / estimated, estimated / took) for _, estimated, took in rows)
    print(f"worst: a factor of {worst:.2f}\n")
    encoding(arguments.base)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--sizes", default="250,1000,4000")
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--presets", default="instant,thorough")
    parser.add_argument("--until", default="export")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--processor", action="store_true", help="compare processor time instead of seconds")
    return parser.parse_args()


def compare(corpus: Path, preset: str, size: int, folder: Path, arguments: argparse.Namespace) -> tuple[float, float]:
    """Estimate a run and do it; print each stage, and return what was estimated and what it took."""
    from hfembed import pipeline
    from hfembed.launch.estimate import offer
    from hfembed.launch.local import this_hardware
    from hfembed.launch.workload import measure_workload
    from hfembed.recipe import make_recipe
    from hfembed.run import Run

    options = {"corpus": str(corpus.resolve()), "base": arguments.base, "pull.limit": size}
    recipe = make_recipe(preset, settings=arguments.settings, options=options)
    run = Run(folder)
    stages = pipeline.NAMES[: pipeline.NAMES.index(arguments.until) + 1]
    expected = offer(recipe, stages, measure_workload(recipe, run, 0), this_hardware(), remote=False).expected
    folder.mkdir()
    run.write_recipe(recipe)
    # In a process of its own, as people run it: what one run has loaded the next one would find.
    child = [sys.executable, __file__, "--child", str(folder), arguments.until]
    took = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    column = 1 if arguments.processor else 0
    what = f"{corpus.name} {preset}, {size:,} documents"
    print(f"\n{what:46}estimated      took  processor  ratio", flush=True)
    rows = [(name, expected.stages[name], *took[name]) for name in stages]
    rows.append(("all", expected.seconds, *(sum(row[at] for row in took.values()) for at in (0, 1))))
    for name, estimated, seconds, processor in rows:
        ratio = (seconds, processor)[column] / estimated
        print(f"  {name:44} {estimated:9.1f} {seconds:9.1f} {processor:9.1f} {ratio:7.2f}", flush=True)
    return float(rows[-1][1]), float((rows[-1][2], rows[-1][3])[column])


def clock(folder: Path, until: str) -> None:
    """Do a run and print the seconds and the processor seconds of each stage."""
    from hfembed import pipeline
    from hfembed.events import Event
    from hfembed.run import Run

    clocks: dict[str, tuple[float, float]] = {}
    took: dict[str, tuple[float, float]] = {}

    def listen(event: Event) -> None:
        now = (time.perf_counter(), time.process_time())
        if event.kind == "start":
            clocks[event.stage] = now
        elif event.kind == "done":
            took[event.stage] = (now[0] - clocks[event.stage][0], now[1] - clocks[event.stage][1])

    run = Run.open(folder)
    pipeline.run(run.recipe(), run, until=until, listeners=[listen])
    print(json.dumps(took))


def encoding(base: str) -> None:
    """Measure how fast the base model encodes, in the terms of rates.py."""
    from hfembed.embed import Precision, Role, encode, has_fast_bf16, load_model
    from hfembed.hub import locate_model
    from hfembed.launch.local import this_hardware
    from hfembed.launch.workload import model_weights

    source, cores = locate_model(base), this_hardware().cpus
    model, weights = load_model(source), model_weights(base)
    precision = Precision.BF16 if has_fast_bf16("cpu") else Precision.FP32
    for what, text, count in (
        ("texts", "what holds the pump", 2_048),
        ("encode", "the pump of unit seven leaks " * 60, 256),
    ):
        texts = [f"{number} {text}" for number in range(count)]
        encode(model, texts[:32], Role.DOCUMENT, precision)
        started = time.process_time()
        encode(model, texts, Role.DOCUMENT, precision)
        seconds = time.process_time() - started  # of all cores together, so what one would take
        tokens = len(model.tokenizer(texts[-1], truncation=True, max_length=model.max_seq_length)["input_ids"])
        rate = count / seconds if what == "texts" else count * tokens * 2 * weights.computed / seconds / 1e12
        unit = "texts" if what == "texts" else "TFLOP"
        print(f"{what:7} {rate:8.2f} {unit}/s a core ({tokens} tokens, {precision}, {cores} cores here)")


if __name__ == "__main__":
    prepare_process()
    main()
