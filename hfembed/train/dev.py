"""Dev: queries that are not learned from, scored by family, for stopping in time and choosing how much to keep."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hfembed.corpus import Documents
from hfembed.embed import Precision, Role, encode
from hfembed.labelled import PEOPLE
from hfembed.maps import Maps
from hfembed.ranking import Rows, mean_ndcg, top_documents
from hfembed.recipe import QueryKind
from hfembed.run import LAYOUT
from hfembed.stage import Job
from hfembed.train.people import Asked
from hfembed.train.strength import FAMILIES, MIN_DEV_QUERIES

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Every look encodes these anew, so they are few.
MAX_QUERIES = 400
MAX_DOCUMENTS = 1_000
# Where people's own queries are known they count this much, and all other families together the rest.
PEOPLE_SHARE = 0.5


@dataclass(frozen=True)
class Dev:
    """Queries with the row of the document that answers each, and how much each family of them counts."""

    queries: list[str]
    answers: Rows
    families: npt.NDArray[np.str_]
    ids: list[str]
    documents: list[str]
    shares: Mapping[str, float]
    unseen: bool

    def scores(self, model: SentenceTransformer, precision: Precision) -> dict[str, float]:
        """Return nDCG@10 by family."""
        return self.scores_of(self.rank(model, precision))

    def rank(self, model: SentenceTransformer, precision: Precision) -> Rows:
        """Return the ten documents nearest to each query."""
        documents = encode(model, self.documents, Role.DOCUMENT, precision)
        return top_documents(encode(model, self.queries, Role.QUERY, precision), documents, 10)

    def scores_of(self, ranked: Rows) -> dict[str, float]:
        """Return nDCG@10 of a ranking by family."""
        return {
            family: mean_ndcg(ranked[self.families == family], self.answers[self.families == family])
            for family in self.shares
        }

    def hits(self, ranked: Rows) -> float:
        """Return hit@1 of a ranking: how often a query's own document comes first."""
        return float((ranked[:, 0] == self.answers).mean())

    def in_view(self, maps: Maps) -> Dev:
        """Return the same queries and documents as entity maps, where they have one."""
        return replace(
            self, queries=maps.of_queries(self.queries), documents=maps.of_documents(self.ids, self.documents)
        )

    def mean(self, scores: Mapping[str, float]) -> float:
        """Return the scores as one number."""
        return sum(share * scores[family] for family, share in self.shares.items())


def read_dev(job: Job, documents: Documents, learned: Collection[str], asked: Asked | None) -> Dev:
    """Read dev.parquet and what people asked; families that were learned from count only where none was left out.

    learned: the kinds of query that are learned from.
    """
    row_of = {identity: row for row, identity in enumerate(documents.ids)}
    table = pq.read_table(job.run.path(LAYOUT.dev), columns=["query", "positive_id", "kind"])
    family_of = {str(kind): family for family, kinds in FAMILIES.items() for kind in kinds}
    rows = [
        (query, row_of[identity], family_of.get(kind, kind))
        for query, identity, kind in zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
        if kind != QueryKind.LABELLED  # these are among what people asked
    ]
    seen = {family_of.get(kind, kind) for kind in learned}
    unseen = _voters([row for row in rows if row[2] not in seen])
    voters = unseen or _voters(rows) or {family for _, _, family in rows}
    draw = random.Random(job.recipe.seed)
    chosen = _draw([row for row in rows if row[2] in voters], MAX_QUERIES, draw)
    shares = dict.fromkeys(sorted({family for _, _, family in chosen}), 1.0)
    if asked is not None and asked.queries:
        people = [(query, row, PEOPLE) for query, row in zip(asked.queries, asked.answers.tolist(), strict=True)]
        chosen += _draw(people, MAX_QUERIES, draw)
        shares = dict.fromkeys(shares, (1 - PEOPLE_SHARE) / max(1, len(shares))) | {PEOPLE: PEOPLE_SHARE}
    total = sum(shares.values())
    kept = sorted({row for _, row, _ in chosen})
    others = sorted(set(range(len(documents))) - set(kept))
    kept += draw.sample(others, max(0, min(MAX_DOCUMENTS - len(kept), len(others))))
    place, texts = {row: at for at, row in enumerate(kept)}, documents.texts()
    return Dev(
        queries=[query for query, _, _ in chosen],
        answers=np.array([place[row] for _, row, _ in chosen], dtype=np.int64),
        families=np.array([family for _, _, family in chosen], dtype=np.str_),
        ids=[documents.ids[row] for row in kept],
        documents=[texts[row] for row in kept],
        shares={family: share / total for family, share in shares.items()},
        unseen=bool(unseen) or (asked is not None and bool(asked.queries)),
    )


def _voters(rows: list[tuple[str, int, str]]) -> set[str]:
    """Return the families with enough queries to be heard."""
    families = [family for _, _, family in rows]
    return {family for family in set(families) if families.count(family) >= MIN_DEV_QUERIES}


def _draw(rows: list[Any], most: int, draw: random.Random) -> list[Any]:
    return draw.sample(rows, most) if len(rows) > most else list(rows)
