"""Heads on the test: what each of them finds alone, and what all find together."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from hfembed.embed import Embedder, Precision, Role
from hfembed.evaluate.collection import Collection
from hfembed.events import Reporter
from hfembed.heads import has_heads, headed, read_weights
from hfembed.heads.search import read_texts, search
from hfembed.recipe import Head

if TYPE_CHECKING:
    from hfembed.evaluate.task import Scores

# As deep as mteb measures.
CANDIDATES = 100


def score_heads(
    folder: Path, collection: Collection, embedder: Embedder, work: Path, report: Reporter
) -> dict[str, Scores]:
    """Return the scores of a model's heads by name, the one vector aside; nothing where it has no heads.

    work: a folder with room for the vectors of all tokens, which are gone afterwards.
    """
    if not has_heads(folder):
        return {}
    from hfembed.evaluate.task import score_rankings

    texts, names = list(collection.corpus.values()), list(collection.corpus)
    precision, weights = Precision(embedder.precision(texts)["precision"]), read_weights(folder)
    model = headed(embedder.model, folder)
    rankings: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    with tempfile.TemporaryDirectory(prefix=".heads-", dir=work) as place:
        asked = list(collection.queries.values())
        documents = read_texts(model, texts, Role.DOCUMENT, precision, Path(place) / "documents", report)
        queries = read_texts(model, asked, Role.QUERY, precision, Path(place) / "queries", report)
        found = search(queries, documents, weights, CANDIDATES)
        for identity, candidates in zip(
            collection.queries, report.each(found, "comparing token by token", len(asked), "queries"), strict=True
        ):
            near = [names[row] for row in candidates.rows]
            for head, scores in candidates.scores.items():
                if head != Head.DENSE:
                    rankings[str(head)][identity] = dict(zip(near, map(float, scores), strict=True))
    return {head: score_rankings(collection, head, ranked) for head, ranked in rankings.items()}
