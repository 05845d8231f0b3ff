"""Rankings: what several contenders answer to one query, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hfembed.compare.contender import Contender, read_contenders
from hfembed.compare.corpus import Searched
from hfembed.compare.library import Found, Library
from hfembed.corpus import Documents
from hfembed.errors import InputError
from hfembed.events import Reporter


@dataclass(frozen=True)
class Hit:
    """One ranked document; `moved` is how many places it rose against the first model."""

    rank: int
    id: str
    title: str
    text: str
    score: float
    moved: int | None


@dataclass(frozen=True)
class Ranking:
    """What one model answers."""

    model: str
    milliseconds: float
    hits: list[Hit]


def compare(
    models: Sequence[str],
    corpus: str,
    query: str,
    count: int = 10,
    report: Reporter | None = None,
    library: Library | None = None,
) -> list[Ranking]:
    """Rank the corpus for a query under each model.

    models: as read_contenders takes them. corpus: anything `pull` reads, or a finished run.
    """
    refuse_empty(query)
    library = library or Library()
    searched = library.corpus(corpus)
    return rank(library, read_contenders(models, corpus), searched, query, count, report)


def rank(
    library: Library,
    contenders: Sequence[Contender],
    corpus: Searched,
    query: str,
    count: int,
    report: Reporter | None = None,
) -> list[Ranking]:
    """Rank a corpus that is in memory for a query under each contender."""
    refuse_empty(query)
    found = [library.search(contender, corpus, [query], count, report)[0] for contender in contenders]
    before = {corpus.documents.ids[row]: rank for rank, row in enumerate(found[0].rows.tolist(), 1)} if found else {}
    return [
        ranking_of(contender.name, one, corpus.documents, before if at else None)
        for at, (contender, one) in enumerate(zip(contenders, found, strict=True))
    ]


def ranking_of(name: str, found: Found, documents: Documents, before: dict[str, int] | None = None) -> Ranking:
    """Return what was found with the documents themselves; before: the places in the first contender's ranking."""
    hits = [
        _hit(documents, row, score, rank, before)
        for rank, (row, score) in enumerate(zip(found.rows.tolist(), found.scores.tolist(), strict=True), 1)
    ]
    return Ranking(name, round(found.seconds * 1000, 1), hits)


def refuse_empty(query: str) -> None:
    """Refuse a query of nothing but spaces."""
    if not query.strip():
        raise InputError("The query is empty.", 'Name one: --query "your question"')


def to_json(rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """Return rankings as `--format json` prints them."""
    return [asdict(ranking) for ranking in rankings]


def _hit(documents: Documents, row: int, score: float, rank: int, before: dict[str, int] | None) -> Hit:
    identity = documents.ids[row]
    moved = None if before is None or identity not in before else before[identity] - rank
    return Hit(rank, identity, documents.titles[row], documents.bodies[row], round(score, 5), moved)
