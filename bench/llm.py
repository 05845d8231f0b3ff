"""Write queries with a faulty language model, kill the process in the middle, go on, and count what was lost or paid twice.

    python bench/llm.py [--documents N] [--concurrency N] [--seconds S] [--faults SHARE]

The model is a scripted server in a process of its own that fails on purpose: 429 with Retry-After, 500, timeouts,
broken responses, malformed, useless and truncated answers, no JSON schemas. Questions, multi-hop questions,
claims, keywords and the judge. Ends with 1 where a record is lost or an answer that was kept is paid again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hfembed.recipe import make_recipe
from hfembed.run import LAYOUT, Run

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))
KILL_AT = 0.6
USABLE = ("none", "malformed")
CHILD = """
import sys
from pathlib import Path
from hfembed import pipeline
from hfembed.recipe import read_recipe
from hfembed.run import Run
pipeline.run(read_recipe(Path(sys.argv[2])), Run(Path(sys.argv[1])), until="generate")
"""


def main() -> None:
    """Run the bench and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.05, help="how long the model takes to answer")
    parser.add_argument("--faults", type=float, default=0.3, help="share of requests that go wrong")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hfembed-bench-") as folder:
        failed = bench(Path(folder), arguments)
    sys.exit(1 if failed else 0)


def bench(folder: Path, arguments: argparse.Namespace) -> bool:
    """Do a calm run, then one with faults and a kill; print what became of both; tell whether anything was lost."""
    from builders import some_documents, write_beir

    write_beir(folder / "corpus", some_documents(arguments.documents))
    each = arguments.faults / 7
    faults = {
        "_429": each,
        "_500": each,
        "timeout": each,
        "broken": each,
        "malformed": each,
        "garbage": each,
        "truncated": each,
    }
    calm = run_once(folder / "calm", folder / "corpus", arguments, {}, kill=False)
    rough = run_once(
        folder / "rough", folder / "corpus", arguments, {**faults, "no_schema": 1, "timeout_seconds": 2}, kill=True
    )
    rows = ("documents", "queries", "records", "lost", "requests", "refused or late", "answers of no use", "answers paid",
            "kept at the kill", "in flight at the kill", "paid twice, kept ones", "seconds")  # fmt: skip
    print(f"{'':24}{'calm':>10}{'faults, kill -9':>18}{'ratio':>8}")
    for name in rows:
        left, right = calm[name], rough[name]
        ratio = f"{right / left:>8.2f}" if left else f"{'':>8}"
        print(f"{name:24}{left:>10,.0f}{right:>18,.0f}{ratio}")
    print("faults met:", ", ".join(f"{count} {name}" for name, count in sorted(rough["faults"].items())))
    fewer, others = calm["texts"] - rough["texts"], rough["texts"] - calm["texts"]
    print(f"against the calm run: {len(fewer)} queries fewer (the ends of truncated answers), {len(others)} others")
    return bool(rough["lost"] or rough["paid twice, kept ones"] or calm["lost"] or others)


def run_once(
    folder: Path, corpus: Path, arguments: argparse.Namespace, faults: dict[str, float], *, kill: bool
) -> dict[str, Any]:
    """Generate once, killed in the middle if asked to, and count."""
    from llm_process import KEY, llm_server

    run = Run(folder / "run")
    with llm_server(folder / "server", seconds=arguments.seconds, **faults) as server:
        settings = server.settings(
            f"generate.llm.concurrency={arguments.concurrency}",
            "generate.llm.patience.timeout=1",
            "generate.llm.patience.tries=20",
            "generate.llm.patience.answers=10",
        )
        recipe = folder / "recipe.yaml"
        recipe.write_text(make_recipe(settings=settings, options={"corpus": str(corpus)}).to_yaml(), encoding="utf-8")
        command = [sys.executable, "-c", CHILD, str(run.folder), str(recipe)]
        environment = {**os.environ, "OPENAI_API_KEY": KEY, "HF_HUB_OFFLINE": "0"}
        started = time.monotonic()
        kept: Counter[str] = Counter()
        flying = 0
        if kill:
            expected = 5 * arguments.documents  # three tasks and a judge for each, and the bundles
            child = subprocess.Popen(command, env=environment)
            while len(journal(run)) < KILL_AT * expected and child.poll() is None:
                time.sleep(0.05)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            time.sleep(1.5)  # what the server still answers to the dead
            kept = Counter(row["key"] for row in journal(run))
            seen = server.requests()
            flying = sum(row["what"] == "answered" for row in seen) - kept.total()
        subprocess.run(command, env=environment, check=True)
        seconds = time.monotonic() - started
        log = server.requests()
    return counted(run, log, kept, flying, seconds)


def counted(run: Run, log: list[dict[str, Any]], kept: Counter[str], flying: int, seconds: float) -> dict[str, Any]:
    """Return the figures of one run."""
    from hfembed.pipeline import manifests

    manifest = manifests(run)["generate"]
    lines = journal(run)
    asked = [row for row in log if row["what"] == "asked"]
    answered = [row for row in log if row["what"] == "answered"]
    usable = Counter(row["record"] for row in answered if row["fault"] in USABLE)
    twice = sum(count - 1 for count in usable.values())
    lost = sum(count for name, count in manifest.dropped.items() if name.startswith(("no_answer", "not_judged")))
    return {
        "documents": manifest.facts["units"] - len(bundles(run)),
        "queries": sum(manifest.counts[split] for split in ("train", "dev", "test")),
        "records": manifest.facts["records"],
        "lost": lost + manifest.facts["unfinished"],
        "requests": len(asked),
        "refused or late": len(asked) - len(answered),
        "answers of no use": sum(row["fault"] not in USABLE for row in answered),
        "answers paid": len(answered),
        "kept at the kill": kept.total(),
        "in flight at the kill": flying,
        # Every answer was kept, but for those in flight; so more doubles than these are of answers that were kept.
        "paid twice, kept ones": max(0, twice - flying) + (len(answered) - len(lines) - flying),
        "seconds": seconds,
        "faults": Counter(row["fault"] for row in asked if row["fault"] != "none"),
        "texts": texts(run),
    }


def journal(run: Run) -> list[dict[str, Any]]:
    """Return what is kept of the answers so far."""
    file = run.path(LAYOUT.answers)
    if not file.is_file():
        return []
    lines = file.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def bundles(run: Run) -> set[str]:
    """Return the keys of the multi-hop requests."""
    return {row["key"] for row in journal(run) if row["task"] == "multi_hop"}


def texts(run: Run) -> set[str]:
    """Return every query of a run."""
    import pyarrow.parquet as pq

    made = [
        row for name in (LAYOUT.pairs, LAYOUT.dev) for row in pq.read_table(run.path(name)).column("query").to_pylist()
    ]
    test = (run.path(LAYOUT.test) / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return {*made, *(json.loads(line)["text"] for line in test)}


if __name__ == "__main__":
    main()
