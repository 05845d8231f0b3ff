"""Measure how fast pull streams a large corpus, how much memory it takes, and which near duplicates it finds.

    python bench/pull.py [--documents N ...] [--base MODEL] [--set KEY=VALUE ...]

Each N makes a corpus of that many short documents from a list of made-up words in a temporary folder, with
copies planted in it of which some words are changed, and pulls it in a process of its own. Prints documents
per second, peak memory, recall (the share found of the planted pairs that share 80 % of their runs of three
words or more), how many pairs that share less were grouped, and which share of the other documents was put
into a group by mistake; then the ratios of the largest to the smallest corpus.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hfembed.run import LAYOUT, Run
from hfembed.summary import summarize

VOCABULARY = 60_000
WORDS = (20, 40)
# Every hundredth document is a copy of another with this many of its words changed, in turn.
EVERY = 100
CHANGED = (0, 1, 2)
THRESHOLD = 0.8
TEMPLATE = "The {} of unit {} stands in row {} of hall {} and is looked at by {} once a {}."
# Every thousandth document is filled into one template: much alike, and no duplicate.
TEMPLATE_EVERY = 1_000


@dataclass(frozen=True)
class Made:
    """Where the corpus is, and which documents of it are copies of which, with what the two share."""

    file: Path
    pairs: list[tuple[str, str, float]]


def main() -> None:
    """Pull every size and print one table."""
    arguments = parse()
    print(f"{'documents':>10} {'docs/s':>8} {'seconds':>8} {'peak MB':>8} {'recall':>8} {'below':>8} {'mistaken':>9}")
    rows = []
    for count in arguments.documents:
        with tempfile.TemporaryDirectory() as temporary:
            made = make_corpus(Path(temporary) / "corpus.jsonl", count)
            rows.append(measure(made, count, Path(temporary) / "run", arguments))
    first, last = rows[0], rows[-1]
    if len(rows) > 1:
        print(
            f"{last[0] / first[0]:,.0f} times the documents: {last[1] / first[1]:.2f} times the speed, "
            f"{last[2] / first[2]:.2f} times the memory"
        )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    return parser.parse_args()


def make_corpus(file: Path, count: int) -> Made:
    """Write documents of made-up words, as frequent as words are, with near duplicates among them."""
    draw = random.Random(1)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = ["".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(VOCABULARY)]
    frequencies = np.cumsum(1 / np.arange(10, VOCABULARY + 10)).tolist()
    pairs: list[tuple[str, str, float]] = []
    with file.open("w", encoding="utf-8") as handle:
        for number, text in enumerate(texts(count, words, frequencies, draw, pairs)):
            handle.write(json.dumps({"_id": f"d{number}", "title": "", "text": text}) + "\n")
    return Made(file, pairs)


def texts(
    count: int, words: list[str], frequencies: list[float], draw: random.Random, pairs: list[tuple[str, str, float]]
) -> Iterator[str]:
    """Yield texts; note in `pairs` which are copies of which, and what they share."""
    originals: list[tuple[str, list[str]]] = []
    for number in range(count):
        if number % EVERY == EVERY - 1:
            name, original = originals.pop()
            copied = list(original)
            for place in draw.sample(range(len(copied)), CHANGED[len(pairs) % len(CHANGED)]):
                copied[place] = draw.choice(words)
            pairs.append((name, f"d{number}", jaccard(original, copied)))
            yield " ".join(copied).capitalize() + "."
        elif number % TEMPLATE_EVERY == 500:
            yield TEMPLATE.format(*draw.sample(words, 6))
        else:
            chosen = draw.choices(words, cum_weights=frequencies, k=draw.randint(*WORDS))
            if number % EVERY == EVERY // 2 - 1:
                originals.append((f"d{number}", chosen))
            yield " ".join(chosen)


def jaccard(one: list[str], other: list[str]) -> float:
    """Return the share of runs of three words, with nothing before and after a text, that two have in common."""
    around = [["", "", *words, "", ""] for words in (one, other)]
    first, second = (set(zip(words, words[1:], words[2:], strict=False)) for words in around)
    return len(first & second) / len(first | second)


def measure(made: Made, count: int, folder: Path, arguments: argparse.Namespace) -> tuple[int, float, float]:
    """Pull one corpus, print its row and return documents, documents per second and megabytes."""
    command = [sys.executable, "-m", "hfembed", "run", "--until", "pull", "--corpus", str(made.file)]
    command += ["--run", str(folder), "--base", arguments.base, "--format", "json"]
    command += [part for setting in arguments.settings for part in ("--set", setting)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    run = Run.open(folder)
    (stage,) = summarize(run)["stages"]
    recall, below, mistaken = judge(made, run)
    speed, memory = f"{count / seconds:8,.0f} {seconds:8.1f}", f"{stage['peak_mb']:8,.0f}"
    print(f"{count:10,} {speed} {memory} {recall:8.4f} {below:8,} {mistaken:9.6f}", flush=True)
    return count, count / seconds, stage["peak_mb"]


def judge(made: Made, run: Run) -> tuple[float, int, float]:
    """Return recall, the pairs grouped that share too little, and the share of other documents in a group."""
    table = pq.read_table(run.path(LAYOUT.documents), columns=["id", "group"])
    group = dict(zip(table["id"].to_pylist(), table["group"].to_pylist(), strict=True))
    # A copy without a change is dropped where its case and signs are the same too.
    pairs = [(one, other, shared) for one, other, shared in made.pairs if one in group and other in group]
    found = [group[one] == group[other] for one, other, shared in pairs if shared >= THRESHOLD]
    below = sum(group[one] == group[other] for one, other, shared in pairs if shared < THRESHOLD)
    planted = {name for pair in made.pairs for name in pair[:2]}
    others = [name for name in group if name not in planted]
    return sum(found) / len(found), below, sum(group[name] != name for name in others) / max(1, len(others))


if __name__ == "__main__":
    main()
