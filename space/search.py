"""Search: models side by side on a corpus, for a visitor; plain functions that the page and the API call alike.

models and corpus are named as search_names.py has it: `base`, `tuned`, `bm25`, `hybrid`, org/name; `sample`, `run:ID`, org/name.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from hfembed.compare import Contender, Library, OnDisk, Ranking, Searched, rank
from hfembed.compare.batch import Batch, ask_all
from hfembed.compare.library import Found
from hfembed.compare.placed import differences, document_vectors, shared
from hfembed.compare.plane import MOST_POINTS, Plane, Topics, find_topics, lay_out
from hfembed.compare.queries import Queries, answering, read_queries
from hfembed.compare.rankings import refuse_empty
from hfembed.corpus import SAMPLE, join_title
from hfembed.errors import InputError, ModelError
from hfembed.events import Reporter

from .gpu import encode_documents, is_zero_gpu
from .search_names import NO_MODEL, RUN, find_contender, find_corpus, find_focus
from .visitors import Visitor

PASSAGES, DEPTH = 10, 100
MOST_MODELS, MOST_QUERY, MOST_DOCUMENTS = 4, 500, 5_000


@dataclass(frozen=True)
class Selection:
    """What a visitor compares, found and loaded. label: what the corpus is called."""

    corpus: Searched | OnDisk
    label: str
    contenders: tuple[Contender, ...]
    known: Queries


@dataclass(frozen=True)
class Comparison:
    """What several models answer.

    rankings: the passages that are shown. answers: the documents known to answer the query. places: where each model
    ranks them, if that is near the top. notes: what the visitor should know about it.
    """

    query: str
    corpus: str
    rankings: tuple[Ranking, ...]
    answers: tuple[str, ...]
    places: tuple[dict[str, int], ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


@lru_cache(maxsize=1)
def library() -> Library:
    """Return the models and corpora that all visitors share; whoever asks for one must be allowed to see it."""
    return Library(encode_documents, "cpu") if is_zero_gpu() else Library()


def warm_up() -> None:
    """Import in the background what the first search would wait for: somebody is about to type a query."""
    threading.Thread(target=import_module, args=("sentence_transformers",), daemon=True).start()


def search(visitor: Visitor, model: str, corpus: str, query: str, count: int = PASSAGES) -> Ranking:
    """Rank the passages of a corpus for a query under one model."""
    return compare(visitor, [model], corpus, query, count).rankings[0]


def compare(
    visitor: Visitor,
    models: Sequence[str],
    corpus: str,
    query: str,
    count: int = PASSAGES,
    report: Reporter | None = None,
) -> Comparison:
    """Rank the passages of a corpus for a query under each model; the first is what the others are measured against."""
    asked = query.strip()[:MOST_QUERY]
    refuse_empty(asked)
    with visitor.acting():
        selection = select(visitor, models, corpus, report)
        deep = rank(library(), selection.contenders, selection.corpus, asked, max(count, DEPTH), report)
    answers = tuple(selection.known.answers(asked))
    places = tuple({hit.id: hit.rank for hit in ranking.hits if hit.id in answers} for ranking in deep)
    shown = tuple(Ranking(ranking.model, ranking.milliseconds, ranking.hits[:count]) for ranking in deep)
    return Comparison(asked, selection.label, shown, answers, places, _notes(selection))


def ask_many(
    visitor: Visitor, models: Sequence[str], corpus: str, file: Path | None = None, report: Reporter | None = None
) -> tuple[Batch, tuple[str, ...]]:
    """Ask each model the queries of a file, or those the corpus knows the answers of; notes say what was left out."""
    with visitor.acting():
        selection = select(visitor, models, corpus, report)
        queries = _of_file(file, selection) if file else selection.known
        batch = ask_all(library(), selection.contenders, selection.corpus, queries.queries, report)
    notes = list(_notes(selection))
    if queries.unknown:
        notes.append(f"{queries.unknown:,} answers in the file are no documents of this corpus; they are left out.")
    if batch.queries > len(batch.lines):
        notes.append(f"{len(batch.lines):,} of {batch.queries:,} queries were asked, spread over all of them.")
    return batch, tuple(notes)


@dataclass(frozen=True)
class Map:
    """A corpus under each model, with the query on it. titles: of the documents that are shown, in their order."""

    query: str
    names: tuple[str, ...]
    planes: tuple[Plane, ...]
    top: tuple[tuple[int, ...], ...]
    topics: Topics
    titles: tuple[str, ...]
    answers: frozenset[int]


def draw_map(visitor: Visitor, models: Sequence[str], corpus: str, query: str, report: Reporter | None = None) -> Map:
    """Lay out a corpus under each of the models, with the query and the passages found for it."""
    asked = query.strip()[:MOST_QUERY]
    refuse_empty(asked)
    with visitor.acting():
        selection = select(visitor, models, corpus, report)
        searched, dense = selection.corpus, [one for one in selection.contenders if not one.words]
        if not dense:
            raise InputError("A map needs a model: words alone have no place on it.", NO_MODEL)
        found = [_ids(library().search(one, searched, [asked], PASSAGES, report)[0]) for one in dense]
        documents = library().readable(searched, report)
        answers = set(documents.numbers(list(selection.known.answers(asked))))
        spread = documents.ids(documents.spread(MOST_POINTS))
        shown = shared(library(), dense, searched, sorted({*spread, *answers, *itertools.chain(*found)}))
        vectors = [document_vectors(library(), one, searched, shown) for one in dense]
        asked_as = [library().query_vectors(one, searched, [asked])[0] for one in dense]
        numbers = documents.numbers(shown)
        passages = documents.passages([numbers[name] for name in shown])
    rows, at = np.arange(len(shown)), {name: row for row, name in enumerate(shown)}
    planes: list[Plane] = []
    for own, vector in zip(vectors, asked_as, strict=True):
        planes.append(lay_out(own, rows, vector, planes[0] if planes else None))
    topics = find_topics(vectors[0], rows, [join_title(passage.title, passage.text) for passage in passages])
    top = tuple(tuple(at[name] for name in names if name in at) for names in found)
    titles = tuple(passage.title or passage.id for passage in passages)
    return Map(
        asked,
        tuple(one.name for one in dense),
        tuple(planes),
        top,
        topics,
        titles,
        frozenset(at[name] for name in answers if name in at),
    )


def select(visitor: Visitor, models: Sequence[str], corpus: str, report: Reporter | None = None) -> Selection:
    """Find what a visitor names, and load it. To be called while the visitor acts."""
    if not models:
        raise ModelError("No model is chosen.", NO_MODEL)
    if len(models) > MOST_MODELS:
        raise InputError(f"{len(models)} models are more than {MOST_MODELS}.", "Take some away.")
    focus = find_focus(visitor, corpus)
    source, label = find_corpus(visitor, corpus)
    contenders = [find_contender(visitor, name, models, focus, corpus) for name in dict.fromkeys(models)]
    searched = library().corpus(source, MOST_DOCUMENTS)
    library().prepare_all(contenders, searched, report)
    return Selection(searched, label, tuple(contenders), library().known(searched))


def known_of(visitor: Visitor, corpus: str) -> Queries:
    """Return the queries whose answers a corpus on this machine knows; of others none, for they are not read for this."""
    if corpus != SAMPLE and not corpus.startswith(RUN):
        return Queries([])
    return library().known(library().corpus(find_corpus(visitor, corpus)[0], MOST_DOCUMENTS))


def _of_file(file: Path, selection: Selection) -> Queries:
    try:
        here = selection.corpus
        documents = here.documents if isinstance(here, Searched) else answering(file, library().readable(here))
        return read_queries(file, documents)
    except InputError as error:
        # Where an upload is kept is no visitor's concern.
        raise InputError(error.message.replace(str(file), file.name), error.hint) from None


def _notes(selection: Selection) -> tuple[str, ...]:
    told = tuple(differences(library(), selection.contenders, selection.corpus))
    if selection.corpus.whole:
        return told
    first = f"Only the first {len(selection.corpus):,} documents of {selection.label} are searched here."
    return (first, *told)


def _ids(found: Found) -> list[str]:
    return found.where.ids(found.rows.tolist())
