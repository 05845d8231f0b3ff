"""The generate stage: queries for documents, filtered, and split by document."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from hfembed.corpus import Documents
from hfembed.errors import StageError
from hfembed.events import Reporter
from hfembed.generate.files import weigh_dev, weigh_queries, write_pairs, write_test
from hfembed.generate.filters import filter_queries
from hfembed.generate.maps import make_maps
from hfembed.generate.ontology import write_facts
from hfembed.generate.parallel import write_all
from hfembed.generate.people import split_documents
from hfembed.generate.query import Query, Split
from hfembed.recipe import GenerateMethod
from hfembed.run import LAYOUT
from hfembed.stage import Job, Outcome

MIN_QUERIES = 8
WANTED_TEST_QUERIES = 50
SAMPLES = 5
SAMPLE_CHARS = 100


def generate(job: Job) -> Outcome:
    """Write queries for the documents of the run, and split them so that no document serves twice."""
    settings, seed = job.recipe.generate, job.recipe.seed
    documents = Documents.read(job.run.path(LAYOUT.documents))
    splits, asked = split_documents(job, documents)
    made, dropped, facts = _write(job, documents, splits)
    queries, unfit = filter_queries(job, made, documents, asked)
    dropped += unfit
    limits = {
        Split.TRAIN: settings.max_train_queries,
        Split.DEV: settings.max_dev_queries,
        Split.TEST: settings.max_test_queries,
    }
    kept: dict[Split, list[Query]] = {}
    for split, limit in limits.items():
        own = [query for query in queries if query.split is split]
        given = [query for query in asked if query.split is split]
        kept[split] = given + draw(own, max(0, limit - len(given)), seed)
        dropped[f"over_{split}_limit"] = len(given) + len(own) - len(kept[split])
    _refuse_too_few(kept, settings.method, job.report)
    weights = weigh_queries(kept[Split.TRAIN], settings.weights)
    write_pairs(job.out / Path(LAYOUT.pairs).name, kept[Split.TRAIN], weights, documents)
    write_pairs(
        job.out / Path(LAYOUT.dev).name, kept[Split.DEV], weigh_dev(kept[Split.DEV], settings.weights), documents
    )
    write_test(job.out / Path(LAYOUT.test).name, kept[Split.TEST], documents)
    if (mapped := _map_texts(job, documents, kept)) is not None:
        facts["entity_maps"] = mapped
    kinds = Counter(str(query.kind) for own in kept.values() for query in own)
    if asked:
        facts["labelled"] = {str(split): sum(query.split is split for query in asked) for split in Split}
    return Outcome(
        counts={**{str(split): len(own) for split, own in kept.items()}, **kinds},
        dropped=dict(dropped),
        facts={**facts, "weights": _by_kind(kept[Split.TRAIN], weights), "samples": _samples(kept, documents, seed)},
    )


def draw(items: list[Any], count: int, seed: int) -> list[Any]:
    """Return at most `count` items, drawn at random and left in order."""
    if len(items) <= count:
        return items
    chosen = sorted(random.Random(seed).sample(range(len(items)), count))
    return [items[at] for at in chosen]


def _write(job: Job, documents: Documents, splits: list[Split]) -> tuple[list[Query], Counter[str], dict[str, Any]]:
    settings, seed = job.recipe.generate, job.recipe.seed
    rows = draw(list(range(len(documents))), settings.max_documents, seed)
    known = write_facts(job, documents, rows, splits)
    if settings.method is GenerateMethod.EXTRACTIVE:
        return known + write_all(documents, rows, splits, settings, seed, job.report), Counter(), {}
    from hfembed.generate.llm import write_queries

    queries, written = write_queries(job, documents, rows, splits)
    if settings.beside:
        cut = settings.model_copy(update={"kinds": settings.beside})
        queries += write_all(documents, rows, splits, cut, seed, job.report)
    return known + queries, Counter(written.dropped), written.facts


def _map_texts(job: Job, documents: Documents, kept: dict[Split, list[Query]]) -> dict[str, Any] | None:
    """Write the entity maps of documents and queries, where the recipe wants them; return what they are like."""
    rows = draw(list(range(len(documents))), job.recipe.generate.max_documents, job.recipe.seed)
    made = make_maps(job, documents, rows, [query.text for own in kept.values() for query in own])
    if made is None:
        return None
    maps, facts = made
    maps.write(job.out / Path(LAYOUT.maps).name)
    return facts


def _by_kind(queries: list[Query], weights: list[float]) -> dict[str, float]:
    """Return the share of the training that each kind has."""
    shares: Counter[str] = Counter()
    for query, weight in zip(queries, weights, strict=True):
        shares[str(query.kind)] += weight  # type: ignore[assignment]
    return {kind: round(share / len(queries), 4) for kind, share in sorted(shares.items())}


def _samples(kept: dict[Split, list[Query]], documents: Documents, seed: int) -> list[dict[str, str]]:
    """Return a few training queries of different kinds, to be looked at."""
    by_kind: dict[str, Query] = {}
    for query in random.Random(seed).sample(kept[Split.TRAIN], len(kept[Split.TRAIN])):
        by_kind.setdefault(str(query.kind), query)
    chosen = list(by_kind.values())[:SAMPLES]
    return [
        {
            "kind": str(query.kind),
            "query": query.text[:SAMPLE_CHARS],
            "document": documents.ids[query.rows[0]],
            "text": " ".join(documents.bodies[query.rows[0]].split())[:SAMPLE_CHARS],
        }
        for query in chosen
    ]


def _refuse_too_few(kept: dict[Split, list[Query]], method: GenerateMethod, report: Reporter) -> None:
    more = "generate.kinds.keyword=6" if method is GenerateMethod.EXTRACTIVE else "generate.llm.max_cost=SUM"
    for split, queries in kept.items():
        if len(queries) < MIN_QUERIES:
            raise StageError(
                f"Only {len(queries)} {split} queries could be made from this corpus; {MIN_QUERIES} are needed.",
                f"Add documents, or ask for more: --set {more}",
            )
    if len(kept[Split.TEST]) < WANTED_TEST_QUERIES:
        report.warn(
            f"Only {len(kept[Split.TEST])} test queries: a small difference cannot be told from chance. "
            "More documents would help."
        )
