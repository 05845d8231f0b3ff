"""A BEIR folder as an mteb retrieval task, and the runs of models on it."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from mteb import evaluate as mteb_evaluate
from mteb import get_model
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.model_meta import ModelMeta
from mteb.types import PromptType

from hfembed.corpus import join_title
from hfembed.embed import Embedder, Vectors

BM25 = "mteb/baseline-bm25s"
DEPTH = 10
METRICS = ("ndcg@10", "recall@10", "mrr@10", "hit@1")
SPLIT = "test"


@dataclass(frozen=True)
class Collection:
    """Documents, queries and which documents answer which query, in BEIR terms."""

    name: str
    corpus: dict[str, str]
    queries: dict[str, str]
    kinds: dict[str, str]
    qrels: dict[str, dict[str, int]]

    @classmethod
    def read(cls, folder: Path, name: str) -> Collection:
        """Read a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv."""
        documents = _read_jsonl(folder / "corpus.jsonl")
        corpus = {str(d["_id"]): join_title(d.get("title") or "", d.get("text") or "") for d in documents}
        rows = _read_jsonl(folder / "queries.jsonl")
        qrels: dict[str, dict[str, int]] = {}
        with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                if int(row["score"]) > 0:
                    qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
        queries = {str(q["_id"]): q["text"] for q in rows if str(q["_id"]) in qrels}
        kinds = {str(q["_id"]): (q.get("metadata") or {}).get("kind", "human") for q in rows}
        return cls(name, corpus, queries, kinds, {identity: qrels[identity] for identity in queries})


@dataclass(frozen=True)
class Scores:
    """What mteb measured for one model: its own result, and each query's metrics in one order."""

    result: Any
    per_query: dict[str, dict[str, float]]


class CachedEncoder:
    """An Embedder in the shape mteb expects, so that mteb reads vectors the run already has."""

    def __init__(self, embedder: Embedder, name: str, revision: str) -> None:
        """Present `embedder` to mteb under a name."""
        self._embedder = embedder
        self.mteb_model_meta = ModelMeta.create_empty({"name": f"hfembed/{name}", "revision": revision})

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> Vectors:
        """Return the vectors of everything in a data loader."""
        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type == PromptType.query:
            return self._embedder.queries(texts)
        return self._embedder.documents(texts)

    def similarity(self, first: Any, second: Any) -> Any:
        """Return the cosines of all rows with all rows; the vectors are of length one."""
        import torch

        return torch.tensor(np.asarray(first)) @ torch.tensor(np.asarray(second)).T

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        """Return the cosine of each row with its counterpart."""
        import torch

        return (torch.tensor(np.asarray(first)) * torch.tensor(np.asarray(second))).sum(-1)


def score_embedder(collection: Collection, embedder: Embedder, name: str) -> Scores:
    """Score a model through mteb."""
    return _score(collection, CachedEncoder(embedder, name, embedder.source.fingerprint[:12]))


def score_bm25(collection: Collection) -> Scores:
    """Score BM25 through mteb."""
    return _score(collection, get_model(BM25))


def _score(collection: Collection, model: Any) -> Scores:
    logging.getLogger("mteb").setLevel(logging.ERROR)
    task = _make_task(collection)
    result = mteb_evaluate(model, task, cache=None, show_progress_bar=False, co2_tracker=False)
    return Scores(result.task_results[0], task.per_query)


def _make_task(collection: Collection) -> Any:
    class HeldOutTask(AbsTaskRetrieval):  # type: ignore[misc]
        """The held-out queries of one run."""

        metadata = _metadata(collection)

        def load_data(self, **_: Any) -> None:
            """Hand mteb the collection that is in memory."""
            corpus = [{"id": identity, "title": "", "text": text} for identity, text in collection.corpus.items()]
            queries = [{"id": identity, "text": text} for identity, text in collection.queries.items()]
            data = {
                "corpus": Dataset.from_list(corpus),
                "queries": Dataset.from_list(queries),
                "relevant_docs": collection.qrels,
                "top_ranked": None,
            }
            self.dataset = {"default": {SPLIT: data}}
            self.data_loaded = True

        def task_specific_scores(
            self, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str
        ) -> dict[str, float]:
            """Keep each query's metrics, which mteb averages away."""
            self.per_query = {identity: _query_metrics(results[identity], qrels[identity]) for identity in qrels}
            return {}

    return HeldOutTask()


def _metadata(collection: Collection) -> TaskMetadata:
    return TaskMetadata(
        name=collection.name,
        description="Held-out queries of an hfembed run over its own corpus.",
        dataset={"path": f"hfembed/{collection.name}", "revision": "local"},
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=[SPLIT],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )


def _query_metrics(scores: dict[str, float], relevant: dict[str, int]) -> dict[str, float]:
    """Return one query's metrics over mteb's ranking; their means equal mteb's own figures."""
    # trec_eval, which mteb asks, puts the later id first where scores are equal.
    ranked = sorted(scores, key=lambda identity: (scores[identity], identity), reverse=True)[:DEPTH]
    gains = [relevant.get(identity, 0) for identity in ranked]
    ideal = sorted(relevant.values(), reverse=True)[:DEPTH]
    first = next((place for place, gain in enumerate(gains, 1) if gain), None)
    return {
        "ndcg@10": _discounted(gains) / _discounted(ideal),
        "recall@10": sum(gain > 0 for gain in gains) / len(relevant),
        "mrr@10": 1 / first if first else 0.0,
        "hit@1": float(first == 1),
    }


def _discounted(gains: list[int]) -> float:
    return float(sum(gain / np.log2(place + 1) for place, gain in enumerate(gains, 1)))


def _read_jsonl(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
