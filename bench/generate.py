"""Which kinds of query move the queries people ask? Each kind alone, and the default mix of all.

    python bench/generate.py FOLDER [FOLDER ...] [--base MODEL] [--kinds KIND ...]
    python bench/generate.py FOLDER [FOLDER ...] --speed

Each FOLDER is a collection in BEIR layout with queries by people. For every kind a run makes queries of
that kind alone from corpus.jsonl, and the map of the `instant` preset is trained on them, its strength
chosen as `instant` chooses it. The queries by people are read afterwards, by this file, to score it: the
map itself, before it is folded into the weights (bench/human.py scores the folded model). Prints nDCG@10
of base and map and their ratio, for every kind, for the mix, and the means over the collections.
--speed instead prints how many documents a core writes queries for in a second of its own time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from hfembed import pipeline
from hfembed.cli_base import prepare_process
from hfembed.embed import Embedder
from hfembed.errors import StageError
from hfembed.evaluate.task import Collection
from hfembed.events import silent
from hfembed.generate.extractive import Passage, write_queries
from hfembed.generate.vocabulary import Vocabulary
from hfembed.ranking import top_documents
from hfembed.recipe import Generate, QueryKind, Recipe, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import Job, Sources
from hfembed.train.adapter import Map, learn_map
from hfembed.train.mapped import read_data
from hfembed.train.strength import choose_strength

MIX = "default mix"
PLAIN = (QueryKind.TITLE, QueryKind.SENTENCE, QueryKind.KEYWORD)
TOO_FEW = "too few"


def main() -> None:
    """Train on every kind and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--kinds", nargs="*", default=[str(kind) for kind in Generate().kinds])
    parser.add_argument("--speed", action="store_true")
    arguments = parser.parse_args()
    if arguments.speed:
        for folder in arguments.folders:
            show_speed(folder)
        return
    variants = [MIX, *arguments.kinds]
    gains: dict[str, list[float | None]] = {variant: [] for variant in variants}
    for folder in arguments.folders:
        with tempfile.TemporaryDirectory() as temporary:
            base = 0.0
            for variant in variants:
                measured = measure(folder, variant, arguments.base, Path(temporary))
                if measured is None:
                    gains[variant].append(None)
                    continue
                base, score, strength, pairs = measured
                gains[variant].append(score / base - 1)
                print(
                    f"{folder.name:10} {variant:12} nDCG@10 base {base:.4f}  tuned {score:.4f}  {score / base - 1:+.1%}"
                    f"  (strength {strength}, {pairs:,} pairs)",
                    flush=True,
                )
    print(f"\n{'gain of nDCG@10':16}" + "".join(f"{folder.name:>10}" for folder in arguments.folders) + f"{'mean':>10}")
    for variant in sorted(variants, key=lambda variant: -mean(gains[variant])):
        cells = [TOO_FEW if gain is None else f"{gain:+.1%}" for gain in gains[variant]]
        print(f"{variant:16}" + "".join(f"{cell:>10}" for cell in cells) + f"{mean(gains[variant]):>+10.1%}")


def show_speed(folder: Path) -> None:
    """Write queries for every document in this process, the plain kinds and all, and print documents per second."""
    documents = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = [(d["_id"], d.get("title") or "", d["text"]) for d in documents]
    words = np.mean([len(body.split()) for _, _, body in texts])
    every = Generate().kinds
    for name, kinds in (("plain kinds", {kind: every[kind] for kind in PLAIN}), ("all kinds", every)):
        started = time.process_time()
        vocabulary = Vocabulary(f"{title} {body}" for _, title, body in texts)
        made = sum(len(write_queries(Passage(*text, vocabulary, 42), kinds)) for text in texts)
        rate = len(texts) / (time.process_time() - started)
        print(
            f"{folder.name:10} {name:12} {rate:8,.0f} documents/s per core, {made:,} queries, {words:.0f} words a document"
        )


def mean(gains: list[float | None]) -> float:
    """Return the mean gain; where a kind gave too few queries, the base stays, which gains nothing."""
    return float(np.mean([gain or 0.0 for gain in gains]))


def measure(folder: Path, variant: str, base: str, work: Path) -> tuple[float, float, float, int] | None:
    """Return base and tuned nDCG@10 of the queries by people, the strength chosen and the number of pairs."""
    run = Run(work / folder.name)  # one run for all variants: its documents are pulled and encoded once
    recipe = make_recipe("instant", settings=settings(variant), options={"corpus": str(folder), "base": base})
    try:
        pipeline.run(recipe, run, until="mine", rerun=None if variant == MIX else "generate")
    except StageError:
        return None
    learned, pairs = learn(recipe, run)
    collection = Collection.read(folder, "HumanQueries")
    embedder = Embedder(Sources(recipe).base, run.path(LAYOUT.embeddings))
    documents = np.asarray(embedder.documents(list(collection.corpus.values())))
    queries = np.asarray(embedder.queries(list(collection.queries.values())))
    scores = [
        score(collection, map_.apply(queries), map_.apply(documents)) for map_ in (Map(learned.weights, 0), learned)
    ]
    return scores[0], scores[1], learned.strength, pairs


def settings(variant: str) -> list[str]:
    """Return what makes queries of one kind alone."""
    if variant == MIX:
        return []
    return [f"generate.kinds.{kind}={count if kind == variant else 0}" for kind, count in Generate().kinds.items()]


def learn(recipe: Recipe, run: Run) -> tuple[Map, int]:
    """Train the map and choose its strength, as the train stage does before it folds."""
    sources = Sources(recipe)
    data = read_data(
        Job(run, recipe, run.folder, silent(), sources), Embedder(sources.base, run.path(LAYOUT.embeddings))
    )
    phases, seed = recipe.train.phases, recipe.seed
    choice = choose_strength(data.train, data.dev, data.documents, data.groups, phases, seed, silent())
    pairs = data.train.with_rows(data.dev)
    learned, _ = learn_map(pairs, data.documents, data.groups, phases, seed)
    return Map(learned.weights, choice.strength), len(pairs)


def score(collection: Collection, queries: np.ndarray, documents: np.ndarray) -> float:
    """Return nDCG@10."""
    identities, total = list(collection.corpus), 0.0
    discounts = 1 / np.log2(np.arange(2, 12))
    for identity, rows in zip(collection.queries, top_documents(queries, documents, 10), strict=True):
        relevant = collection.qrels[identity]
        found = np.array([identities[row] in relevant for row in rows])
        total += float((found * discounts[: len(found)]).sum() / discounts[: min(10, len(relevant))].sum())
    return total / len(collection.queries)


if __name__ == "__main__":
    prepare_process()
    main()
