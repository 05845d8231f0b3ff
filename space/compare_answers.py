"""What the Compare page answers: passages side by side, many queries at once, a map; and the address it is found under."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from hfembed.compare import BASE, BM25, INDEX, TUNED
from hfembed.errors import HfembedError

from .compare_work import Work
from .html import error_of
from .page import shown
from .queries import example_queries
from .search import ask_many, compare, draw_map, known_of
from .search_names import RUN, Choice, corpus_choices, model_choices
from .view_compare import busy_html, comparison_html
from .view_compare_batch import batch_html
from .view_compare_map import map_html
from .visitors import Visitor, visitor_of

SIDE, BLIND, MANY, MAP = MODES = ("Side by side", "Blind vote", "Many queries", "Map")
ASK = (
    "Ask something",
    "Type a query, or choose one below the field, and press Search. The key / brings you back to it.",
)
ASK_MAP = ("A map of the documents", "Type a query above and press Search: the map shows where each model puts it.")
LONGEST_LINK = 300
# What is shown, and the task that it comes from unless that is done. A task that takes longer is shown by events of its
# own, the result by the last of them: Gradio 6.17 loses now and then what a handler yields last.
Begun = tuple[Any, Work[Any] | None]


@dataclass(frozen=True)
class Link:
    """What an address asks for."""

    corpus: str = ""
    models: tuple[str, ...] = ()
    query: str = ""

    @classmethod
    def read(cls, asked: Mapping[str, str]) -> Link:
        """Read an address; what is too long to be one of ours is cut."""
        short = {key: str(value)[:LONGEST_LINK].strip() for key, value in asked.items()}
        run = short.get("run", "")
        models = tuple(name.strip() for name in short.get("models", "").split(",") if name.strip())
        corpus = short.get("corpus", "") or (RUN + run if run else "")
        return cls(corpus, models, short.get("q", ""))


def open_page(
    token: str, chosen: str, corpus: str, models: list[str], opened: str | None, request: gr.Request
) -> tuple[Any, ...]:
    """Bring the choices up to date; the first time, what the address names is chosen, and asked."""
    try:
        visitor = visitor_of(token, request)
        corpora = corpus_choices(visitor)
    except HfembedError as error:
        return gr.skip(), gr.skip(), gr.skip(), gr.skip(), opened, gr.skip(), error_of(error)
    if opened is not None and chosen == opened:
        # The page may have been filled a moment ago, and what is chosen in it by now is not known here.
        return _dropdown(corpora), gr.skip(), gr.skip(), gr.skip(), opened, gr.skip(), gr.skip()
    link = Link.read(dict(request.query_params)) if opened is None and request else Link()
    keys = [choice.key for choice in corpora]
    wanted = link.corpus or (RUN + chosen if chosen else "")
    stays = corpus if opened is not None and corpus in keys else keys[0]
    corpus = wanted if wanted in keys or link.corpus else stays
    return (
        _dropdown(corpora, corpus),
        *_models(visitor, corpus, link.models),
        link.query or gr.skip(),
        chosen,
        link.query or gr.skip(),
        gr.skip(),
    )


def change_corpus(token: str, corpus: str, models: list[str], request: gr.Request) -> tuple[Any, ...]:
    """Offer the models and queries that belong to a corpus."""
    return _models(visitor_of(token, request), corpus, models)


def answer(
    token: str, corpus: str, models: list[str], query: str, mode: str, request: gr.Request
) -> tuple[Any, Work[Any] | None, Any]:
    """Find what each model finds for a query; where the map is looked at, say that it is to be drawn too."""
    visitor = visitor_of(token, request)
    work = Work(lambda report: compare(visitor, models, corpus, query or "", report=report), comparison_html)
    return *_begun(work), time.time_ns() if mode == MAP else gr.skip()


def draw(token: str, corpus: str, models: list[str], query: str, mode: str, request: gr.Request) -> Begun:
    """Draw where a query stands among the documents, while the map is looked at."""
    if mode != MAP or not (query or "").strip():
        return gr.skip(), None
    visitor = visitor_of(token, request)
    return _begun(Work(lambda report: draw_map(visitor, models, corpus, query, report), map_html))


def ask_known(token: str, corpus: str, models: list[str], request: gr.Request) -> Begun:
    """Ask each model the queries whose answers the corpus knows."""
    return _many(visitor_of(token, request), corpus, models, None)


def ask_file(token: str, corpus: str, models: list[str], file: str, request: gr.Request) -> Begun:
    """Ask each model the queries of a file."""
    return _many(visitor_of(token, request), corpus, models, Path(file))


def follow(work: Work[Any] | None) -> Iterator[Any]:
    """Show how far a task is until it is done."""
    for words in work.follow() if work is not None else ():
        yield busy_html(words)
    yield gr.skip()


def finish(work: Work[Any] | None) -> Any:
    """Show what came of what was begun."""
    return work.html() if work is not None else gr.skip()


def drill_down(event: gr.EventData) -> str:
    """Take up one query of many."""
    return str(event.query)


def _many(visitor: Visitor, corpus: str, models: list[str], file: Path | None) -> Begun:
    return _begun(
        Work(lambda report: ask_many(visitor, models, corpus, file, report), lambda found: batch_html(*found))
    )


def _begun(work: Work[Any]) -> Begun:
    """Return what came of a task that was done at once, else words on how far it is and the task itself."""
    return (work.html(), None) if work.is_soon_done() else (busy_html(work.words), work)


def _models(visitor: Visitor, corpus: str, models: Sequence[str]) -> tuple[gr.Dropdown, gr.Dataset]:
    """Return the models to choose from, with those that stay chosen, and queries to try."""
    offered = model_choices(visitor, corpus)
    keys = [choice.key for choice in offered]
    try:
        queries = example_queries(known_of(visitor, corpus))
    except HfembedError:
        queries = []  # what is wrong with the corpus is said when it is searched
    # What somebody typed stays; a run that is no longer there does not.
    kept = [name for name in models if name in keys or (not name.startswith(TUNED) and name != INDEX)]
    usual = [name for name in (INDEX, BASE, TUNED, BM25) if name in keys]
    value = kept if set(kept) - {BASE, BM25} else usual
    return _dropdown(offered, value), gr.Dataset(samples=[[query] for query in queries], visible=shown(bool(queries)))


def _dropdown(choices: Sequence[Choice], value: Any = None) -> gr.Dropdown:
    pairs = [(choice.label, choice.key) for choice in choices]
    return gr.Dropdown(choices=pairs) if value is None else gr.Dropdown(choices=pairs, value=value)
