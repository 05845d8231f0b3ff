"""Measure whether a trained query generator is worth its training: sft, then grpo, then a retriever on what each writes.

    python bench/generator.py [FOLDER] [--passages 200] [--base MODEL] [--set sft.KEY=VALUE ...] [--runs DIR]

FOLDER is a collection in BEIR layout with queries by people, by default the sample; of a larger one so many
passages are drawn. Without --base the language model is a tiny Llama made from a config, which has read the
passages and nothing else. A run cuts queries from the passages; sft teaches them to the model, and grpo rewards
it for queries that bring their passage back. Then each of the three writes the queries of a run of its own:
untrained (the model as it was, asked in the same way), sft and grpo; a retriever is trained on them (`instant`), and
scored, with the base it started from, on the queries that people asked, which are read for that alone.

Prints reward and guards in the beginning and at the end, and nDCG@10 of every retriever; whether sft beats untrained
and grpo beats sft is told by a paired bootstrap. A generator of grpo is worth shipping where it does.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfembed import pipeline
from hfembed.cli_base import prepare_process
from hfembed.embed import Embedder
from hfembed.errors import HfembedError
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.verdict import compare_paired
from hfembed.events import Event, Events, Reporter
from hfembed.generator import grpo, sft
from hfembed.generator.settings import make_grpo, make_sft
from hfembed.hub import local_model, locate_model
from hfembed.recipe import make_recipe
from hfembed.resources import sample_folder
from hfembed.run import GENERATOR_LAYOUT, LAYOUT, Run, write_json

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

# What suits a tiny model that learns with all its weights; a real one takes the defaults.
TINY_SFT = ("lora=null", "learning_rate=1e-3", "epochs=6", "max_length=256", "query_tokens=32", "batch_size=32")
TINY_GRPO = ("lora=null", "learning_rate=1e-4", "batch_size=64")
READING_BATCH, READING_TOKENS = 8, 256
WORDING = ("question", "keyword", "title")
TASKS = {"question": 2, "keyword": 4, "title": 1, "claim": 0, "multi_hop": 0, "definition": 0, "triple": 0}


@dataclass(frozen=True)
class Retriever:
    """What came of a generator's queries. scores: nDCG@10 of each query that people asked."""

    queries: int
    scores: np.ndarray
    seconds: float


def main() -> None:
    """Train, compare, print."""
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="hfembed-bench-") as temporary:
        home = arguments.runs or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        corpus = draw_passages(arguments.folder, home / "corpus", arguments.passages)
        bench(corpus, home, arguments)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=sample_folder())
    parser.add_argument("--passages", type=int, default=200)
    parser.add_argument("--base", help="a language model; a tiny one is made when not given")
    parser.add_argument("--reading", type=int, default=400, help="steps in which the tiny model reads the passages")
    parser.add_argument("--steps", type=int, default=200, help="steps of grpo")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="sft.KEY=VALUE")
    parser.add_argument("--runs", type=Path, help="keep everything here, and go on there")
    return parser.parse_args()


def draw_passages(folder: Path, target: Path, count: int) -> Path:
    """Write a collection of at most `count` passages, with the queries that they answer."""
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = rows if len(rows) <= count else random.Random(0).sample(rows, count)
    ids = {str(row["_id"]) for row in kept}
    judged = (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()
    (target / "qrels").mkdir(parents=True, exist_ok=True)
    lines = [judged[0], *(line for line in judged[1:] if line.split("\t")[1] in ids)]
    (target / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (target / "corpus.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in kept), encoding="utf-8")
    queries = (folder / "queries.jsonl").read_text(encoding="utf-8")
    (target / "queries.jsonl").write_text(queries, encoding="utf-8")
    return target


def bench(corpus: Path, home: Path, arguments: argparse.Namespace) -> None:
    """Train the generator in both ways, and a retriever on the queries of each."""
    tiny = arguments.base is None
    base = str(home / "base") if tiny else arguments.base
    if tiny and not (home / "base").is_dir():
        made = make_base(corpus, home / "reading", arguments.reading)
        (home / "reading").rename(home / "base")
        say(f"a tiny Llama has read {made['passages']} passages for {made['seconds']:.0f} s: loss {made['loss']:.2f}")
    run = Run(home / "run")
    pipeline.run(make_recipe(options={"corpus": str(corpus)}), run, until="generate")
    report = Reporter("generator", Events(listeners=[tell]))
    own = {
        name: [s.removeprefix(f"{name}.") for s in arguments.settings if s.startswith(f"{name}.")]
        for name in ("sft", "grpo")
    }
    wording = f"types=[{','.join(WORDING)}]"
    taught = sft(run, base, home / "sft", make_sft([wording, *(TINY_SFT if tiny else ()), *own["sft"]]), report)
    show_sft(taught)
    steps = f"steps={arguments.steps}"
    settings = make_grpo([steps, *(TINY_GRPO if tiny else ()), *own["grpo"]])
    show_grpo(grpo(run, str(home / "sft"), home / "grpo", settings, report))
    untrained = untaught(base, home)
    collection = Collection.read(corpus, "HumanQueries")
    found = {name: retrieve(folder, corpus, home / f"run-{name}", collection, report)
             for name, folder in (("untrained", untrained), ("sft", home / "sft"), ("grpo", home / "grpo"))}  # fmt: skip
    show_retrievers(score_base(run, collection), found, collection.clusters())


def make_base(corpus: Path, folder: Path, steps: int) -> dict[str, Any]:
    """Make a tiny Llama and let it read the passages."""
    import torch
    from tiny_writer import make_writer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    started = time.perf_counter()
    texts = list(Collection.read(corpus, "passages").corpus.values())
    make_writer(folder, texts, vocabulary=4_000, width=192, layers=4, tokens=512)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.tensor(
        [token for text in texts for token in (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    draw = torch.Generator().manual_seed(0)
    length = min(READING_TOKENS, len(tokens) - 1)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 50) * (1 - step / steps)
        starts = torch.randint(len(tokens) - length, (READING_BATCH,), generator=draw).tolist()
        batch = torch.stack([tokens[start : start + length] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder, safe_serialization=True)
    return {"passages": len(texts), "seconds": time.perf_counter() - started, "loss": loss.item()}


def untaught(base: str, home: Path) -> Path:
    """Return the model as it was before sft, in a folder of its own that says how it is asked."""
    folder = home / "untrained"
    folder.mkdir(exist_ok=True)
    for file in locate_model(base).path.iterdir():
        if file.is_file() and not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())
    about = json.loads((home / "sft" / GENERATOR_LAYOUT.about).read_text(encoding="utf-8"))
    write_json(folder / GENERATOR_LAYOUT.about, {"asking": about["asking"], "training": {}, "inputs": ""})
    return folder


def retrieve(generator: Path, corpus: Path, home: Path, collection: Collection, report: Reporter) -> Retriever | None:
    """Train a retriever on what a generator writes, and score it; nothing where it writes too little."""
    # A model that was never taught where a query ends fails often: what it does write counts.
    settings = ["generate.filters.judge=null", "generate.llm.batch_size=64", "generate.llm.patience.max_failures=1"]
    settings.append(f"generate.llm.tasks={json.dumps(TASKS)}")
    options = {"corpus": str(corpus), "generate.method": "model", "generate.llm.model": str(generator)}
    run, started = Run(home), time.perf_counter()
    try:
        pipeline.run(make_recipe(settings=settings, options=options), run, until="train")
    except HfembedError as error:
        report.warn(f"{generator.name}: {error}")
        return None
    counts = pipeline.manifests(run)["generate"].counts
    scores = score(local_model("tuned", run.path(LAYOUT.model)), run, collection)
    return Retriever(counts["train"], scores, time.perf_counter() - started)


def score_base(run: Run, collection: Collection) -> np.ndarray:
    """Return what the retriever is worth before it learns."""
    return score(locate_model(run.recipe().base), run, collection)


def score(source: Any, run: Run, collection: Collection) -> np.ndarray:
    """Return nDCG@10 of each query that people asked."""
    from hfembed.evaluate.task import score_embedder

    found = score_embedder(collection, Embedder(source, run.path(LAYOUT.embeddings)), source.name).per_query
    return np.array([found[query]["ndcg@10"] for query in collection.queries])


def say(line: str) -> None:
    """Print a line as soon as it is known: what follows takes minutes."""
    print(line, flush=True)


def tell(event: Event) -> None:
    """Print what a person should know."""
    if event.kind == "warning":
        say(f"  warning: {event.message}")


def show_sft(done: dict[str, Any]) -> None:
    """Print what sft did."""
    types = ", ".join(f"{count} {name}" for name, count in done["types"].items())
    say(f"sft: {done['pairs']} queries ({types}), {done['seconds']:.0f} s")
    say(f"  loss {done['loss']['start']:.3f} -> {done['loss']['end']:.3f}")


def show_grpo(done: dict[str, Any]) -> None:
    """Print reward and guards in the beginning and at the end."""
    say(f"grpo: {done['steps']} steps on {done['prompts']} prompts, {done['seconds']:.0f} s")
    say(f"  {'':34}{'start':>9}{'end':>9}")
    rows = {"reward": done["reward"], **{f"  {name}": ends for name, ends in done["parts"].items()}, **done["watched"]}
    for name, ends in rows.items():
        say(f"  {name:34}{ends['start']:>9.3f}{ends['end']:>9.3f}")
    raised = ", ".join(f"{name} at step {guard['step']}" for name, guard in done["guards"].items())
    say(f"  guards: {raised or 'quiet'}")


def show_retrievers(base: np.ndarray, found: dict[str, Retriever | None], clusters: list[str]) -> None:
    """Print each retriever against the one before it, on the queries that people asked."""
    say(
        f"\nretrievers, on {len(clusters)} queries by people{'queries':>14}{'nDCG@10':>10}{'to base':>9}  against the one above"
    )
    say(f"  {'base':40}{'':>10}{base.mean():>12.4f}")
    before = base
    for name, one in found.items():
        if one is None:
            say(f"  {name:40}{'too few':>10}{base.mean():>12.4f}{'':>9}  (the base, as nothing is learned)")
            before = base
            continue
        against = compare_paired(before, one.scores, clusters, 2_000, 0.95, 42)
        say(
            f"  {name:40}{one.queries:>10,}{one.scores.mean():>12.4f}{one.scores.mean() / base.mean() - 1:>+9.1%}"
            f"  {against.delta:+.4f} ({against.low:+.4f} to {against.high:+.4f}): {against.verdict}"
        )
        before = one.scores


if __name__ == "__main__":
    prepare_process()
    main()
