"""The train stage: learn, choose how much of it to keep, fold, and check what came out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from hfembed.compatible import write_compatible
from hfembed.corpus import Documents
from hfembed.embed import Embedder, Precision, Role, Vectors
from hfembed.hub import TUNED, local_model
from hfembed.ranking import Rows, mean_ndcg, top_documents
from hfembed.recipe import Fold
from hfembed.run import LAYOUT
from hfembed.stage import Job, Outcome, require
from hfembed.train.adapter import Map, Pairs, learn_map
from hfembed.train.fold import append_dense, fold_map
from hfembed.train.strength import choose_strength, score_map

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


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


def train(job: Job) -> Outcome:
    """Train the phases, choose the strength on dev, and save one plain sentence-transformers folder."""
    require("train", "torch", "sentence_transformers")
    settings, seed = job.recipe.train, job.recipe.seed
    embedder = Embedder(job.sources.base, job.run.path(LAYOUT.embeddings), job.report)
    data = _read(job, embedder)
    learned, losses = learn_map(data.train, data.documents, data.groups, settings.phases, seed, job.report)
    chosen: dict[str, Any] = {"strength": settings.strength}
    if settings.strength == "auto":
        choice = choose_strength(data.train, data.dev, data.documents, data.groups, settings.phases, seed, job.report)
        chosen = choice.to_json()
    learned = Map(learned.weights, float(chosen["strength"]))
    job.report.note(_describe_strength(learned.strength, chosen=settings.strength == "auto"))
    folded = _save(job, embedder, data, learned)
    facts = {"losses": losses, "choice": chosen, "fold": folded, "precision": embedder.precision(data.texts)}
    return Outcome(counts={"pairs": len(data.train), "steps": len(losses)}, facts=facts)


def _read(job: Job, embedder: Embedder) -> Data:
    documents = Documents.read(job.run.path(LAYOUT.documents))
    row_of = {identity: row for row, identity in enumerate(documents.ids)}
    texts = documents.texts()
    vectors = embedder.documents(texts)
    tables = [pq.read_table(job.run.path(path)) for path in (LAYOUT.train, LAYOUT.dev)]
    queries: list[list[str]] = [table["query"].to_pylist() for table in tables]
    pairs = []
    for table, wording in zip(tables, queries, strict=True):
        names = [name for name in table.column_names if name.startswith("negative_") and name.endswith("_id")]
        negatives = [[row_of[identity] for identity in table[name].to_pylist()] for name in names]
        pairs.append(
            Pairs(
                queries=np.asarray(embedder.queries(wording)),
                positives=np.array([row_of[identity] for identity in table["positive_id"].to_pylist()]),
                kinds=np.array(table["kind"].to_pylist(), dtype=np.str_),
                negatives=np.array(negatives, dtype=np.int64).T.reshape(len(wording), len(names)),
            )
        )
    groups = np.unique(np.array(documents.groups), return_inverse=True)[1]
    return Data(texts, vectors, groups, pairs[0], pairs[1], queries[0], queries[1])


def _describe_strength(strength: float, *, chosen: bool) -> str:
    if not chosen:
        return f"keeping {strength:.0%} of what was learned, as the recipe says"
    if strength == 0:
        return "no strength of the map helped the kinds of query left out: the tuned model stays the base"
    return f"keeping {strength:.0%} of what was learned: the best on kinds of query that were left out"


def _save(job: Job, embedder: Embedder, data: Data, learned: Map) -> dict[str, Any]:
    """Save the tuned model to the stage's folder and return what folding cost."""
    settings = job.recipe.train.fold
    before = score_map(learned, data.dev, data.documents)
    model = embedder.model
    if learned.strength == 0:
        _write(model, job.out)
        return {"kind": "base", "dev_ndcg@10": round(before, 5)}
    precision = Precision(embedder.precision(data.texts)["precision"])
    texts, targets = _fold_data(data, learned, settings, job.recipe.seed)
    fold_map(model, texts, targets, settings, precision, job.recipe.seed, job.report)
    _write(model, job.out)
    measured = _measure_fold(job, data, learned) | {"map_dev_ndcg@10": round(before, 5)}
    lost = before - measured["dev_ndcg@10"]
    if measured["cosine"] >= settings.min_cosine and lost <= settings.max_ndcg_loss:
        return {"kind": "folded", **measured}
    job.report.warn(
        f"Folding missed its gate (cosine {measured['cosine']:.4f}, nDCG@10 {-lost:+.4f} against the map), so the map "
        "stays a Dense layer. Only sentence-transformers applies it: other engines would serve the base.",
        **measured,
    )
    _write(append_dense(Embedder(job.sources.base, job.out).model, learned), job.out)
    return {"kind": "dense", **measured}


def _fold_data(data: Data, learned: Map, settings: Fold, seed: int) -> tuple[list[tuple[str, Role]], Vectors]:
    draw = random.Random(seed)
    documents = draw.sample(range(len(data.texts)), min(settings.max_documents, len(data.texts)))
    queries = draw.sample(range(len(data.train_queries)), min(settings.max_queries, len(data.train_queries)))
    texts = [(data.texts[row], Role.DOCUMENT) for row in documents]
    texts += [(data.train_queries[row], Role.QUERY) for row in queries]
    vectors = np.concatenate([data.documents[documents], data.train.queries[queries]])
    return texts, learned.apply(vectors)


def _measure_fold(job: Job, data: Data, learned: Map) -> dict[str, Any]:
    """Compare the folded model with the map, on dev queries it never saw, over the whole corpus."""
    embedder = Embedder(local_model(TUNED, job.out), job.run.path(LAYOUT.embeddings), job.report)
    documents, queries = embedder.documents(data.texts), embedder.queries(data.dev_queries)
    cosine = float((queries * learned.apply(data.dev.queries)).sum(1).mean())
    score = mean_ndcg(top_documents(queries, documents, 10), data.dev.positives)
    return {"cosine": round(cosine, 5), "dev_ndcg@10": round(score, 5)}


def _write(model: SentenceTransformer, folder: Path) -> None:
    model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
    write_compatible(folder, model)
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes for the owner's eyes only
