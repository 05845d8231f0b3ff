"""A collection as an mteb retrieval task, and the runs of models on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from mteb import evaluate as mteb_evaluate
from mteb import get_model
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.model_meta import ModelMeta
from mteb.types import PromptType

from hfembed.embed import Embedder, Vectors
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.metrics import CUTOFFS, METRICS, query_metrics
from hfembed.ranking import fuse
from hfembed.run import hash_json

__all__ = [
    "METRICS", "CachedEncoder", "Collection", "Ranked", "Scores", "fuse", "load_bm25",
    "score_bm25", "score_embedder", "score_fusion", "score_rankings",
]  # fmt: skip

BM25 = "mteb/baseline-bm25s"
SPLIT = "test"

Rankings = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Scores:
    """What mteb measured for one model: its own result, each query's metrics, and what was ranked how."""

    result: Any
    per_query: dict[str, dict[str, float]]
    rankings: Rankings


class CachedEncoder:
    """An Embedder in the shape mteb expects, so that mteb reads vectors the run already has."""

    def __init__(self, embedder: Embedder, name: str, revision: str = "") -> None:
        """Present `embedder` to mteb under a name; what mteb keeps of it goes by the fingerprint of its weights."""
        self._embedder = embedder
        revision = revision or hash_json([embedder.source.fingerprint])[:12]
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


class Ranked:
    """A search that was done before, in the shape mteb expects of one."""

    def __init__(self, name: str, rankings: Rankings) -> None:
        """Present what was found for every query."""
        self._rankings = rankings
        self.mteb_model_meta = ModelMeta.create_empty({"name": f"hfembed/{name}", "revision": "ranked"})

    def index(self, corpus: Any, **_: Any) -> None:
        """Do nothing: everything was searched before."""

    def search(self, queries: Any, **_: Any) -> Rankings:
        """Return the ranking of every query."""
        return {identity: self._rankings[identity] for identity in queries["id"]}


def score_embedder(collection: Collection, embedder: Embedder, name: str) -> Scores:
    """Score a model through mteb."""
    return _score(collection, CachedEncoder(embedder, name))


def score_bm25(collection: Collection) -> Scores:
    """Score BM25 through mteb."""
    return _score(collection, load_bm25())


def score_fusion(collection: Collection, *scores: Scores) -> Scores:
    """Score, through mteb, what several searches find together."""
    joined = {identity: fuse([score.rankings[identity] for score in scores]) for identity in collection.queries}
    return score_rankings(collection, "fusion", joined)


def score_rankings(collection: Collection, name: str, rankings: Rankings) -> Scores:
    """Score, through mteb, what was found for every query."""
    return _score(collection, Ranked(name, rankings))


def load_bm25() -> Any:
    """Return mteb's own BM25."""
    return get_model(BM25)


def _score(collection: Collection, model: Any) -> Scores:
    logging.getLogger("mteb").setLevel(logging.ERROR)
    task = _make_task(collection)
    result = mteb_evaluate(model, task, cache=None, show_progress_bar=False, co2_tracker=False)
    return Scores(result.task_results[0], task.per_query, task.rankings)


def _make_task(collection: Collection) -> Any:
    class HeldOutTask(AbsTaskRetrieval):  # type: ignore[misc]
        """The held-out queries of one run."""

        metadata = _metadata(collection)
        # No deeper than what is measured: mteb's own thousand would be most of the memory.
        k_values = CUTOFFS

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
            self, scores: Any, qrels: Mapping[str, Any], results: Rankings, hf_split: str, hf_subset: str
        ) -> dict[str, float]:
            """Keep each query's ranking and metrics, which mteb averages away."""
            self.rankings = results
            self.per_query = {identity: query_metrics(results[identity], qrels[identity]) for identity in qrels}
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
