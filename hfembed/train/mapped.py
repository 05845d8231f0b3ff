"""adapter: learn a map on cached embeddings, choose how much of it to keep, fold it, and check what came out."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.corpus import Documents
from hfembed.embed import Embedder, Precision, Role, Vectors, unit
from hfembed.hub import TUNED, local_model
from hfembed.ranking import Rows, mean_ndcg, top_documents
from hfembed.recipe import Fold, Phase, TrainMethod
from hfembed.run import LAYOUT
from hfembed.stage import Job
from hfembed.train.adapter import Map, Pairs, learn_map
from hfembed.train.checks import Encoder, read_probe
from hfembed.train.fold import append_dense, fold_map
from hfembed.train.part import Part, describe_prompts, write_model
from hfembed.train.people import hear_people, read_asked
from hfembed.train.strength import choose_strength

# The gate of the fold is measured on this many spans, each of so many words.
FOLD_SPANS = 1_000
SPAN_WORDS = (4, 12)


@dataclass(frozen=True)
class Data:
    """Everything training reads, as vectors of the base model, with the texts behind them."""

    texts: list[str]
    documents: Vectors
    groups: Rows
    train: Pairs
    dev: Pairs
    train_queries: list[str]
    dev_queries: list[str]


def train_map(part: Part) -> dict[str, Any]:
    """Train the map through its phases, choose the strength, fold it, and write the model; return the facts."""
    job, seed, wanted = part.job, part.job.recipe.seed, part.strength
    phases = [phase for phase in part.phases if isinstance(phase, Phase)]
    embedder = Embedder(part.source, job.run.path(LAYOUT.embeddings), job.report)
    data = read_data(job, embedder)
    asked = read_asked(job, Documents.read(job.run.path(LAYOUT.documents)))
    chosen: dict[str, Any] = {"strength": wanted}
    if wanted == "auto":
        choice = choose_strength(data.train, data.dev, data.documents, data.groups, phases, seed, job.report)
        if asked is not None:
            learned, _ = learn_map(data.train, data.documents, data.groups, phases, seed)
            choice = hear_people(choice, learned, asked, embedder, data.documents)
        chosen = choice.to_json()
    # Dev has chosen; now it is learned from too, because what counts most is how many documents are covered.
    pairs = data.train.with_rows(data.dev)
    learned, losses = learn_map(pairs, data.documents, data.groups, phases, seed, job.report)
    learned = Map(learned.weights, float(chosen["strength"]))
    if wanted == job.recipe.train.strength:
        job.report.note(_describe_strength(learned.strength, chosen=wanted == "auto"))
    folded = _save(part, embedder, data, learned)
    return {
        "losses": losses,
        "choice": chosen,
        "fold": folded,
        "precision": embedder.precision(data.texts),
        "prompts": describe_prompts(embedder.model),
        "pairs": len(pairs),
        "phases": [_describe_phases(part, embedder, learned, losses)],
    }


def _describe_phases(part: Part, embedder: Embedder, learned: Map, losses: list[float]) -> dict[str, Any]:
    """Return the course of the training, with the checks before and after it."""
    probe = read_probe(part.job.run.path(LAYOUT.train), part.job.recipe.seed)

    def encoder(by: Map) -> Encoder:
        functions = {Role.QUERY: embedder.queries, Role.DOCUMENT: embedder.documents}
        return lambda texts, role: by.apply(np.asarray(functions[role](texts)))

    before, after = Map(learned.weights, 0.0), learned
    log: list[dict[str, Any]] = [{"step": 0, **probe.measure(encoder(before))}]
    log += [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    log.append({"step": len(losses), **probe.measure(encoder(after))})
    return {"method": str(TrainMethod.ADAPTER), "planned_steps": len(losses), "log": log}


def read_data(job: Job, embedder: Embedder) -> Data:
    """Read what earlier stages made, as vectors of the base."""
    documents = Documents.read(job.run.path(LAYOUT.documents))
    row_of = {identity: row for row, identity in enumerate(documents.ids)}
    texts = documents.texts()
    vectors = embedder.documents(texts)
    groups = np.unique(np.array(documents.groups), return_inverse=True)[1]
    tables = [pq.read_table(job.run.path(path)) for path in (LAYOUT.train, LAYOUT.dev)]
    queries: list[list[str]] = [table["query"].to_pylist() for table in tables]
    pairs = [
        _as_pairs(table, np.asarray(embedder.queries(wording)), row_of)
        for table, wording in zip(tables, queries, strict=True)
    ]
    return Data(texts, vectors, groups, pairs[0], pairs[1], queries[0], queries[1])


def _as_pairs(table: pa.Table, vectors: Vectors, row_of: dict[str, int]) -> Pairs:
    names = [name for name in table.column_names if name.startswith("negative_") and name.endswith("_id")]
    positives = [row_of[identity] for identity in table["positive_id"].to_pylist()]
    # A given negative that is no document has no row, and for dev none were mined: the positive's own row
    # stands in, which adds nothing.
    negatives = [
        [row_of.get(identity, own) for identity, own in zip(table[name].to_pylist(), positives, strict=True)]
        for name in names
    ] or [positives]
    asked = table["query_id"].to_pylist()
    answers: dict[str, list[int]] = defaultdict(list)
    for identity, row in zip(asked, positives, strict=True):
        answers[identity].append(row)
    most = max(map(len, answers.values()))
    return Pairs(
        queries=vectors,
        positives=np.array(positives),
        kinds=np.array(table["kind"].to_pylist(), dtype=np.str_),
        negatives=np.array(negatives, dtype=np.int64).T,
        answers=np.array([(answers[identity] * most)[:most] for identity in asked]),
        weights=table["weight"].to_numpy().astype(np.float32),
    )


def _describe_strength(strength: float, *, chosen: bool) -> str:
    if not chosen:
        return f"keeping {strength:.0%} of what was learned, as the recipe says"
    if strength == 0:
        return "no strength of the map helped the ways of asking left out: the tuned model stays the base"
    return f"keeping {strength:.0%} of what was learned: the best on ways of asking that were left out"


def _save(part: Part, embedder: Embedder, data: Data, learned: Map) -> dict[str, Any]:
    """Save the tuned model to the stage's folder and return what folding cost."""
    settings = part.job.recipe.train.fold
    model = embedder.model
    if learned.strength == 0:
        write_model(model, part.out)
        return {"kind": "base"}
    precision = Precision(embedder.precision(data.texts)["precision"])
    rows, spans = _draw_spans(data.texts, part.job.recipe.seed)
    wanted = learned.apply(np.asarray(embedder.queries(spans)))  # now, because folding changes the model in place
    texts, targets = _fold_data(data, learned, settings, part.job.recipe.seed)
    fold_map(model, texts, targets, settings, precision, part.job.recipe.seed, part.job.report)
    write_model(model, part.out)
    measured = _measure_fold(part, data, learned, rows, spans, wanted)
    lost = measured["map_ndcg@10"] - measured["ndcg@10"]
    if measured["cosine"] >= settings.min_cosine and lost <= settings.max_ndcg_loss:
        return {"kind": "folded", **measured}
    part.job.report.warn(
        f"Folding missed its gate (cosine {measured['cosine']:.4f}, nDCG@10 {-lost:+.4f} against the map), so the map "
        "stays a Dense layer. Only sentence-transformers applies it: other engines would serve the base.",
        **measured,
    )
    write_model(append_dense(Embedder(part.source, part.out).model, learned), part.out)
    return {"kind": "dense", **measured}


def _fold_data(data: Data, learned: Map, settings: Fold, seed: int) -> tuple[list[tuple[str, Role]], Vectors]:
    draw = random.Random(seed)
    documents = draw.sample(range(len(data.texts)), min(settings.max_documents, len(data.texts)))
    queries = draw.sample(range(len(data.train_queries)), min(settings.max_queries, len(data.train_queries)))
    texts = [(data.texts[row], Role.DOCUMENT) for row in documents]
    texts += [(data.train_queries[row], Role.QUERY) for row in queries]
    vectors = np.concatenate([data.documents[documents], data.train.queries[queries]])
    return texts, learned.apply(vectors)


def _measure_fold(
    part: Part, data: Data, learned: Map, rows: Rows, spans: list[str], wanted: Vectors
) -> dict[str, Any]:
    """Compare the folded model with the map over the whole corpus, on spans and where the map sends them."""
    embedder = Embedder(local_model(TUNED, part.out), part.job.run.path(LAYOUT.embeddings), part.job.report)
    queries = embedder.queries(spans)
    by_map = top_documents(wanted, learned.apply(data.documents), 10)
    by_fold = top_documents(queries, embedder.documents(data.texts), 10)
    return {
        "cosine": round(float((unit(np.asarray(queries)) * unit(wanted)).sum(1).mean()), 5),
        "ndcg@10": round(mean_ndcg(by_fold, rows), 5),
        "map_ndcg@10": round(mean_ndcg(by_map, rows), 5),
    }


def _draw_spans(texts: list[str], seed: int) -> tuple[Rows, list[str]]:
    """Return spans of documents as queries: a way of asking that neither map nor fold has learned.

    On queries it was trained on a map is sharper than any fold, and no one else profits from that.
    """
    draw = random.Random(seed)
    rows, spans = [], []
    for row in draw.choices(range(len(texts)), k=FOLD_SPANS):
        words = texts[row].split()
        length = min(draw.randint(*SPAN_WORDS), len(words))
        start = draw.randrange(len(words) - length + 1)
        rows.append(row)
        spans.append(" ".join(words[start : start + length]))
    return np.array(rows), spans
