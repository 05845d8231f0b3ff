"""A blind vote: lists under letters, and once it is cast whose they are, and how all votes stand."""

from __future__ import annotations

from hfembed.compare import Hit
from hfembed.compare.votes import LETTERS, Ballot, Tally

from .html import tag, text
from .view_compare import passage_names, snippet, title_button, whole_passages

SNIPPET = 320


def ballot_html(ballot: Ballot, chosen: int | None = None, *, is_cast: bool = False) -> str:
    """Return the lists side by side; models are named once the vote is cast."""
    names = passage_names(ballot.rankings)
    lists = [
        _list(ballot, at, names, is_cast=is_cast, won=is_cast and at == chosen) for at in range(len(ballot.rankings))
    ]
    keys = ", ".join(str(at + 1) for at in range(len(lists)))
    ask = "You chose." if is_cast else f"Which list answers better? Keys {keys} vote, 0 is a tie."
    heading = tag("p", tag("strong", text(ballot.query)), f" {ask}", class_="hf-meta", role="status")
    laid = tag("div", *lists, class_=f"hf-blind hf-side-{len(lists)}" if not is_cast else "hf-blind-over")
    return tag("section", heading, laid, whole_passages(ballot.rankings, ballot.query, names), aria_label="Blind vote")


def tally_html(tally: Tally) -> str:
    """Return how the votes between these models stand."""
    if not tally.votes:
        return ""
    rows = [_row(name, tally) for name in sorted(tally.shown, key=lambda name: -tally.chosen[name])]
    count = f"{tally.votes:,} vote{'s' if tally.votes > 1 else ''} between these models, {tally.ties:,} of them a tie."
    return tag("section", tag("h4", "Your votes"), *rows, tag("p", text(f"{count} {_meaning(tally)}".strip()), class_="hf-meta"),
               class_="hf-tally", aria_label="Your votes")  # fmt: skip


def _list(ballot: Ballot, at: int, names: dict[str, str], *, is_cast: bool, won: bool) -> str:
    ranking = ballot.rankings[at]
    rows = [_passage(hit, ballot.query, names[hit.id]) for hit in ranking.hits]
    badge = tag("span", "your choice", class_="hf-badge hf-better") if won else ""
    name = f"{LETTERS[at]}: {ranking.model}" if is_cast else f"List {LETTERS[at]}"
    head = tag("header", tag("h3", text(name)), badge)
    body = tag("ol", *rows, class_="hf-ranked") if rows else tag("p", "This list is empty.", class_="hf-meta")
    return tag("article", head, body, class_="hf-answer hf-won" if won else "hf-answer", aria_label=name)


def _passage(hit: Hit, query: str, name: str) -> str:
    head = tag("span", str(hit.rank), class_="hf-rank") + title_button(hit, query, name)
    words = tag("p", snippet(query, hit.text, SNIPPET))
    return tag("li", tag("div", head, class_="hf-hit-head"), words, data_id=hit.id, class_="hf-hit")


def _row(name: str, tally: Tally) -> str:
    share = tally.chosen[name] / tally.shown[name]
    bar = tag("div", tag("span", style=f"width:{share * 100:.0f}%"), class_="hf-bar", aria_hidden="true")
    count = tag("span", f"{tally.chosen[name]} of {tally.shown[name]}", class_="hf-number")
    return tag("div", tag("span", text(name)), bar, count, class_="hf-tally-row")


def _meaning(tally: Tally) -> str:
    chance = tally.chance()
    if chance is None:
        return ""
    often = "less than 1" if chance < 0.01 else f"{chance * 100:.0f}"
    return f"Tossing a coin would be as one-sided in {often} of 100 cases."
