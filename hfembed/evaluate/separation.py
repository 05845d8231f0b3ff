"""Separation: how far a model keeps right answers apart from the best of the wrong ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hfembed.embed import Embedder
from hfembed.evaluate.collection import Collection

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Separation:
    """For each query: the cosine of its best answer, and of the best document that is none."""

    answers: Numbers
    others: Numbers

    def to_json(self) -> dict[str, float]:
        """Return means, and the share of queries whose answer is above everything else."""
        return {
            "answers": round(float(self.answers.mean()), 5),
            "others": round(float(self.others.mean()), 5),
            "above": round(float((self.answers > self.others).mean()), 5),
        }


def separate(collection: Collection, embedder: Embedder, rankings: dict[str, dict[str, float]]) -> Separation:
    """Measure a model whose `rankings` are known; a query that ranks answers alone is passed over."""
    names = [name for name in collection.queries if rankings[name].keys() - collection.qrels[name].keys()]
    wanted = sorted({document for name in names for document in collection.qrels[name]})
    places = {document: at for at, document in enumerate(wanted)}
    documents = embedder.documents([collection.corpus[document] for document in wanted])
    queries = embedder.queries([collection.queries[name] for name in names])
    answers = [
        max(float(queries[at] @ documents[places[document]]) for document in collection.qrels[name])
        for at, name in enumerate(names)
    ]
    others = [
        max(score for document, score in rankings[name].items() if document not in collection.qrels[name])
        for name in names
    ]
    return Separation(np.array(answers), np.array(others))
