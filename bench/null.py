"""Measure what the pipeline says where there is nothing to learn: it may not call a model better.

    python bench/null.py [FOLDER ...] [--base MODEL] [--seeds N] [--controls shuffled,unlabelled,random,swapped]

FOLDER is a corpus, by default the sample. Everything but what is told here is as `instant` ships it; each seed
makes queries, splits and whatever is drawn below anew.

shuffled: between generate and mine the documents of the training queries are exchanged among them, so the map
    learns that any query goes with any document. Dev is as it was, and chooses the strength.
unlabelled: those of the dev queries are exchanged as well: what chooses the strength knows nothing either.
random: documents whose words are drawn one by one at random, from a list.
swapped: two models, both the base with every vector moved at random, about as far as `instant` moves it at half
    its strength. For each document a coin says which of the two is called tuned for its queries: neither is
    better. Twenty times as many draws as seeds, each compared as the report does it.

Prints, for every control, how often the verdict was better, no difference and worse, the strengths chosen, the
mean and lowest cosine of the tuned documents to the base's, and the mean change of nDCG@10. Ends with exit code
1 where a control that trains says better more than once in 20 seeds, or the verdict does in swapped.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from words import write_random

from hfembed import pipeline
from hfembed.cli_base import prepare_process
from hfembed.embed import Embedder, Vectors, unit
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.verdict import Verdict, compare_paired
from hfembed.hub import TUNED, local_model, locate_model
from hfembed.ranking import ndcg_scores, top_documents
from hfembed.recipe import Recipe, make_recipe
from hfembed.resources import sample_folder
from hfembed.run import LAYOUT, Run
from hfembed.summary import summarize

ALLOWED = 1 / 20
DRAWS_PER_SEED = 20
# Random documents: as many as tell a small difference, as long as those of the sample.
DOCUMENTS, LENGTH = 300, 80
ANSWERS = ("positive", "positive_id", "group")


@dataclass(frozen=True)
class Found:
    """What came of one seed."""

    verdict: str
    delta: float
    strength: float | None = None
    cosine: float = 1.0


def main() -> None:
    """Run the controls and print one table."""
    arguments = parse()
    print(
        f"{'corpus':10} {'control':11}{'better':>7}{'no diff.':>9}{'worse':>6}{'cosine':>9}{'lowest':>8}{'nDCG@10':>9}  strengths"
    )
    failed = False
    for folder in arguments.folders:
        for control in arguments.controls.split(","):
            with tempfile.TemporaryDirectory() as temporary:
                found = CONTROLS[control](folder, Path(temporary), arguments)
            failed |= show(folder.name, control, found)
    sys.exit(failed)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[sample_folder()])
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--controls", default=",".join(CONTROLS), help="separated by commas")
    return parser.parse_args()


def show(corpus: str, control: str, found: Sequence[Found]) -> bool:
    """Print one control; tell whether it failed."""
    said = Counter(one.verdict for one in found)
    cosines, delta = [one.cosine for one in found], np.mean([one.delta for one in found])
    strengths = Counter(f"{one.strength:g}" for one in found if one.strength is not None)
    print(
        f"{corpus:10} {control:11}{said[Verdict.BETTER]:7}{said[Verdict.NO_DIFFERENCE]:9}{said[Verdict.WORSE]:6}"
        f"{np.mean(cosines):9.4f}{min(cosines):8.4f}{delta:+9.4f}  "
        + ", ".join(f"{strength} ({count} times)" for strength, count in sorted(strengths.items())),
        flush=True,
    )
    return said[Verdict.BETTER] > math.ceil(len(found) * ALLOWED)


def shuffled(folder: Path, work: Path, arguments: argparse.Namespace) -> list[Found]:
    """Exchange the documents of the training queries."""
    return [tuned(folder, work, arguments.base, seed, [LAYOUT.pairs]) for seed in range(arguments.seeds)]


def unlabelled(folder: Path, work: Path, arguments: argparse.Namespace) -> list[Found]:
    """Exchange the documents of the training queries, and those of the dev queries."""
    tables = [LAYOUT.pairs, LAYOUT.dev]
    return [tuned(folder, work, arguments.base, seed, tables) for seed in range(arguments.seeds)]


def random_text(folder: Path, work: Path, arguments: argparse.Namespace) -> list[Found]:
    """Run on documents of random words; the folder is not read."""
    found = []
    for seed in range(arguments.seeds):
        corpus = work / f"{seed}.jsonl"
        write_random(corpus, DOCUMENTS, LENGTH, seed)
        found.append(tuned(corpus, work / str(seed), arguments.base, seed, []))
    return found


def tuned(corpus: Path, home: Path, base: str, seed: int, tables: Sequence[str]) -> Found:
    """Run the pipeline, with the answers in some tables exchanged, and tell how it ended."""
    run = start(corpus, home, base, seed)
    for table in tables:
        shuffle_answers(run.path(table), seed)
    pipeline.run(run.recipe(), run, until="evaluate")
    summary = summarize(run)
    facts = pipeline.manifests(run)["train"].facts
    cosines = (documents(run, base) * documents(run, None)).sum(axis=1)
    return Found(
        summary["verdict"], summary["report"]["ndcg@10"]["delta"], float(facts["choice"]["strength"]), cosines.mean()
    )


def start(corpus: Path, home: Path, base: str, seed: int) -> Run:
    """Make queries in a run, which keeps the vectors of what it did before."""
    run = Run(home / "run")
    recipe: Recipe = make_recipe("instant", options={"corpus": str(corpus), "base": base, "seed": seed})
    pipeline.run(recipe, run, until="generate", rerun="generate" if run.path(LAYOUT.recipe).exists() else None)
    return run


def shuffle_answers(file: Path, seed: int) -> None:
    """Let the queries of a table exchange the documents that answer them."""
    table = pq.read_table(file)
    order = pa.array(np.random.default_rng(seed).permutation(len(table)))
    for name in ANSWERS:
        table = table.set_column(table.column_names.index(name), table.schema.field(name), table[name].take(order))
    pq.write_table(table, file)


def documents(run: Run, base: str | None) -> Vectors:
    """Return the vectors of the corpus under the base, or under the tuned model."""
    source = locate_model(base) if base else local_model(TUNED, run.path(LAYOUT.model))
    corpus = Collection.read(run.path(LAYOUT.test), "HeldOut").corpus
    return np.asarray(Embedder(source, run.path(LAYOUT.embeddings)).documents(list(corpus.values())))


def swapped(folder: Path, work: Path, arguments: argparse.Namespace) -> list[Found]:
    """Compare two models of which neither is better, as the report compares base and tuned."""
    run = Run(work / "run")
    recipe = make_recipe(
        "instant", settings=["train.strength=0.5"], options={"corpus": str(folder), "base": arguments.base}
    )
    pipeline.run(recipe, run, until="evaluate")
    before, after = documents(run, arguments.base), documents(run, None)
    step = float(np.linalg.norm(after - before, axis=1).mean())
    collection = Collection.read(run.path(LAYOUT.test), "HeldOut")
    embedder = Embedder(locate_model(arguments.base), run.path(LAYOUT.embeddings))
    queries = np.asarray(embedder.queries(list(collection.queries.values())))
    place = {identity: at for at, identity in enumerate(collection.corpus)}
    answers = np.array([place[min(relevant)] for relevant in collection.qrels.values()])
    clusters = collection.clusters()
    numbers = np.unique(np.array(clusters), return_inverse=True)[1]
    found = []
    for seed in range(arguments.seeds * DRAWS_PER_SEED):
        draw = np.random.default_rng(seed)
        scores, cosines = [], []
        for _ in range(2):
            turn = draw.standard_normal((before.shape[1], before.shape[1]), dtype=np.float32)
            turn *= step / float(np.linalg.norm(before @ turn, axis=1).mean())
            moved = unit(before + before @ turn)
            scores.append(ndcg_scores(top_documents(unit(queries + queries @ turn), moved, 10), answers))
            cosines.append(float((moved * before).sum(axis=1).mean()))
        swap = draw.random(numbers.max() + 1)[numbers] < 0.5
        first, second = np.where(swap, scores[::-1], scores)
        settings = recipe.evaluate
        result = compare_paired(first, second, clusters, settings.bootstrap, settings.confidence, seed)
        found.append(Found(result.verdict, result.delta, None, min(cosines)))
    return found


CONTROLS: dict[str, Callable[[Path, Path, argparse.Namespace], list[Found]]] = {
    "shuffled": shuffled,
    "unlabelled": unlabelled,
    "random": random_text,
    "swapped": swapped,
}


if __name__ == "__main__":
    prepare_process()
    main()
