"""Rankings: what several contenders answer to one query, side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hfembed.compare.contender import INDEXED, Contender, names_index, read_contenders
from hfembed.compare.corpus import OnDisk, Passage, Searched
from hfembed.compare.library import Found, Library
from hfembed.compare.placed import differences
from hfembed.errors import InputError
from hfembed.events import Reporter, silent


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
    corpus: str | None,
    query: str,
    count: int = 10,
    report: Reporter | None = None,
    library: Library | None = None,
) -> list[Ranking]:
    """Rank the corpus for a query under each model.

    models: as read_contenders takes them. corpus: anything `pull` reads, a finished run, or an index; where none is
    named, the first of the models that is an index.
    """
    refuse_empty(query)
    corpus = corpus or _first_index(models)
    library = library or Library()
    contenders, searched = read_contenders(models, corpus), library.corpus(corpus, report=report)
    rankings = rank(library, contenders, searched, query, count, report)
    for difference in differences(library, contenders, searched):
        (report or silent()).warn(difference)
    return rankings


def rank(
    library: Library,
    contenders: Sequence[Contender],
    corpus: Searched | OnDisk,
    query: str,
    count: int,
    report: Reporter | None = None,
) -> list[Ranking]:
    """Rank a corpus that was opened for a query under each contender."""
    refuse_empty(query)
    library.prepare_all(contenders, corpus, report)
    rankings: list[Ranking] = []
    for contender in contenders:
        found = library.search(contender, corpus, [query], count, report)[0]
        before = {hit.id: hit.rank for hit in rankings[0].hits} if rankings else None
        rankings.append(ranking_of(contender.name, found, before))
    return rankings


def ranking_of(name: str, found: Found, before: dict[str, int] | None = None) -> Ranking:
    """Return what was found with the documents themselves; before: the places in the first contender's ranking."""
    started = time.perf_counter()
    passages = found.where.passages(found.rows.tolist())
    hits = [
        _hit(passage, score, rank, before)
        for rank, (passage, score) in enumerate(zip(passages, found.scores.tolist(), strict=True), 1)
    ]
    return Ranking(name, round((found.seconds + time.perf_counter() - started) * 1000, 1), hits)


def refuse_empty(query: str) -> None:
    """Refuse a query of nothing but spaces."""
    if not query.strip():
        raise InputError("The query is empty.", 'Name one: --query "your question"')


def to_json(rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """Return rankings as `--format json` prints them."""
    return [asdict(ranking) for ranking in rankings]


def _first_index(models: Sequence[str]) -> str:
    found = next((name for name in models if name.startswith(INDEXED) or names_index(name)), None)
    if found is None:
        raise InputError("No corpus is named.", "Add --corpus SRC; it can be left out where a model is an index.")
    return found.removeprefix(INDEXED)


def _hit(passage: Passage, score: float, rank: int, before: dict[str, int] | None) -> Hit:
    moved = None if before is None or passage.id not in before else before[passage.id] - rank
    return Hit(rank, *passage, round(score, 5), moved)
