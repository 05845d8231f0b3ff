"""The blind vote on the Compare page: which list is better, whosever it is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from hfembed.compare.votes import LETTERS, Ballot, Vote, cast, count_votes, draw_ballot, preferences, read_votes
from hfembed.errors import HfembedError, InputError
from hfembed.events import Reporter

from .compare_work import Work
from .html import empty_box, error_of
from .page import PRIVATE, shown
from .queries import next_query
from .search import MOST_MODELS, compare, known_of
from .view_compare import busy_html
from .view_compare_blind import ballot_html, tally_html
from .visitors import Visitor, visitor_of

PASSAGES = 5
VOTES, DOWNLOADS, PREFERENCES = "votes.jsonl", "hfembed-preferences", "preferences.jsonl"
OUTPUTS = len(LETTERS) + 5
EMPTY = (
    "Which list is better?",
    "You see what each model finds, without its name, and vote. Only then is it told whose list it was.",
)
ALIKE = "These models find the same passages in the same order here: there is nothing to choose between."


@dataclass(frozen=True)
class BlindParts:
    """The components of the vote."""

    panel: gr.HTML
    tally: gr.HTML
    votes: list[gr.Button]
    download: gr.DownloadButton
    ballot: gr.State

    def outputs(self) -> list[Any]:
        """Return what a handler of the vote gives, in its order."""
        return [self.panel, self.tally, *self.votes, self.download, self.ballot]


def blind_part(
    token: gr.BrowserState, corpus: gr.Dropdown, models: gr.Dropdown, query: gr.Textbox, script: str
) -> None:
    """Lay out the vote and wire it."""
    with gr.Row(elem_classes="hf-actions"):
        drawn = gr.Button("Vote on a test query", variant="primary", elem_id="blind-next", min_width=180)
        typed = gr.Button("Vote on the query above", min_width=180)
    panel = gr.HTML(empty_box(*EMPTY), elem_id="blind", js_on_load=script)
    with gr.Row(elem_classes="hf-votes"):
        votes = [_vote_button(f"{letter} is better", f"vote-{at}") for at, letter in enumerate(LETTERS)]
        votes.append(_vote_button("A tie", "vote-tie"))
    tally = gr.HTML(elem_id="tally")
    download = gr.DownloadButton("Download as preference data", size="sm", visible=shown(False), elem_id="preferences")
    parts = BlindParts(panel, tally, votes, download, gr.State(None))
    heavy: dict[str, Any] = {**PRIVATE, "concurrency_id": "search"}
    work = gr.State(None)
    begun = [*parts.outputs(), work]
    drawn.click(draw_query, [token, corpus, models], begun, **heavy).then(ask, work, parts.outputs(), **PRIVATE)
    typed.click(take_query, [token, corpus, models, query], begun, **heavy).then(ask, work, parts.outputs(), **PRIVATE)
    for at, button in enumerate(votes):
        chosen = gr.State(at if at < len(LETTERS) else None)
        button.click(vote, [token, parts.ballot, chosen], parts.outputs(), **PRIVATE)


def draw_query(token: str, corpus: str, models: list[str], request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Begin to find lists for a query that was not voted on yet."""
    visitor = visitor_of(token, request)

    def choose() -> str:
        query = next_query(known_of(visitor, corpus), {vote.query for vote in votes_of(visitor)})
        if query is None:
            raise InputError("There is no test query left to vote on.", "Type one above, and vote on that.")
        return query

    yield from _begin(visitor, corpus, models, choose)


def take_query(
    token: str, corpus: str, models: list[str], query: str, request: gr.Request
) -> Iterator[tuple[Any, ...]]:
    """Begin to find lists for the query that was typed."""
    yield from _begin(visitor_of(token, request), corpus, models, lambda: query or "")


def ask(work: Work[Ballot]) -> tuple[Any, ...]:
    """Ask which of the lists that were found is better."""
    try:
        ballot = work.result()
    except HfembedError as error:
        return _result(error_of(error))
    if ballot.are_alike:
        return _result(empty_box(ballot.query, ALIKE))
    return _result(ballot_html(ballot), ballot=ballot)


def vote(token: str, ballot: Ballot | None, chosen: int | None, request: gr.Request) -> tuple[Any, ...]:
    """Cast a vote, and say whose lists they were."""
    if ballot is None:
        return tuple(gr.skip() for _ in range(OUTPUTS))
    visitor = visitor_of(token, request)
    cast(visitor.folder / VOTES, ballot, chosen)
    votes = votes_of(visitor)
    tally = count_votes(votes, [ranking.model for ranking in ballot.rankings])
    return _result(ballot_html(ballot, chosen, is_cast=True), tally_html(tally), file=write_preferences(visitor, votes))


def votes_of(visitor: Visitor) -> list[Vote]:
    """Return all that a visitor voted, from before they signed in too."""
    return [vote for folder in visitor.folders for vote in read_votes(folder / VOTES)]


def write_preferences(visitor: Visitor, votes: Sequence[Vote]) -> str | None:
    """Write the votes as preference data where Gradio may hand it out from; nothing if all were ties."""
    rows = list(preferences(votes))
    if not rows:
        return None
    file = Path(tempfile.gettempdir()) / DOWNLOADS / visitor.folder.name / PREFERENCES
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def _begin(visitor: Visitor, corpus: str, models: list[str], choose: Callable[[], str]) -> Iterator[tuple[Any, ...]]:
    def find(report: Reporter) -> Ballot:
        if len(models) < 2:
            raise InputError("A vote needs two models at least.", f"Choose two to {MOST_MODELS} above.")
        found = compare(visitor, models, corpus, choose(), PASSAGES, report)
        return draw_ballot(found.corpus, found.query, found.rankings)

    work = Work(find, ballot_html)
    for words in work.follow():
        yield (*_result(busy_html(words)), work)
    yield (*(gr.skip() for _ in range(OUTPUTS)), work)


def _result(panel: str, tally: str = "", ballot: Ballot | None = None, file: str | None = None) -> tuple[Any, ...]:
    lists = len(ballot.rankings) if ballot else 0
    letters = [gr.Button(visible=shown(at < lists)) for at in range(len(LETTERS))]
    download = gr.DownloadButton(value=file, visible=shown(True)) if file else gr.skip()
    return panel, tally, *letters, gr.Button(visible=shown(bool(lists))), download, ballot


def _vote_button(words: str, name: str) -> gr.Button:
    return gr.Button(words, visible=shown(False), elem_id=name, min_width=110)
