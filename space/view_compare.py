"""Rankings side by side: score bars, words of the query, known answers, and how each passage moved."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from hfembed.compare import Hit, Ranking
from hfembed.compare.words import best_window, matching_spans

from .html import tag, text
from .search import Comparison
from .view_compare_lines import lines_svg

SNIPPET, WHOLE = 230, 6_000
KNOWN = "known answer"
NOTHING = "No passage has any of these words."


def comparison_html(comparison: Comparison) -> str:
    """Return one column for each model; the first is what the others are measured against."""
    rankings, names = comparison.rankings, passage_names(comparison.rankings)
    columns = [_column(comparison, at, names) for at in range(len(rankings))]
    between = [lines_svg(*pair) for pair in pairwise(rankings)]
    laid = [part for pair in zip(columns, [*between, ""], strict=True) for part in pair]
    return tag(
        "section",
        _heading(comparison),
        tag("div", *laid, class_=f"hf-side hf-side-{len(rankings)}"),
        whole_passages(rankings, comparison.query, names),
        aria_label="Comparison",
    )


def passage_names(rankings: Iterable[Ranking]) -> dict[str, str]:
    """Return a name for each passage by its id, which nothing else in the page has."""
    prefix = f"passage-{secrets.token_hex(4)}"
    ids = dict.fromkeys(hit.id for ranking in rankings for hit in ranking.hits)
    return {identity: f"{prefix}-{at}" for at, identity in enumerate(ids)}


def whole_passages(rankings: Iterable[Ranking], query: str, names: Mapping[str, str]) -> str:
    """Return every passage in full, to be opened by its title."""
    hits = {hit.id: hit for ranking in rankings for hit in ranking.hits}
    return "".join(_whole(hit, query, names[hit.id]) for hit in hits.values())


def marked(query: str, words: str) -> str:
    """Return a text with the words of the query marked; everything in it is escaped."""
    parts, at = [], 0
    for start, end in matching_spans(query, words):
        parts += [text(words[at:start]), tag("mark", text(words[start:end]))]
        at = end
    return "".join((*parts, text(words[at:])))


def snippet(query: str, body: str, length: int = SNIPPET) -> str:
    """Return the part of a passage that has most of the query's words, with these marked."""
    body = " ".join(body.split())
    start, end = best_window(query, body, length)
    return f"{'… ' if start else ''}{marked(query, body[start:end])}{' …' if end < len(body) else ''}"


def title_button(hit: Hit, query: str, name: str) -> str:
    """Return a passage's title, which opens it in full."""
    return tag("button", marked(query, hit.title or hit.id), type="button", popovertarget=name, class_="hf-title-link")


def moved_mark(hit: Hit) -> str:
    """Return how far a passage moved against the first model, for eyes and for screen readers."""
    if hit.moved is None:
        return _mark("new", "hf-up", "was not near the top of the first model")
    if hit.moved == 0:
        return _mark("=", "hf-even", "same place")
    places = f"{abs(hit.moved)} place{'s' if abs(hit.moved) > 1 else ''}"
    up = hit.moved > 0
    kind, meaning = ("hf-up", f"up {places}") if up else ("hf-down", f"down {places}")
    return _mark(f"{'↑' if up else '↓'}{abs(hit.moved)}", kind, meaning)


def busy_html(words: str) -> str:
    """Return what is shown while a model or a corpus is loaded."""
    bar = tag("div", tag("span"), class_="hf-bar hf-unknown", role="progressbar", aria_label="Working")
    return tag("div", tag("p", text(words), class_="hf-task", role="status"), bar, class_="hf-empty hf-busy")


def notes_html(notes: Sequence[str]) -> str:
    """Return what a visitor should know about a result."""
    return "".join(tag("p", text(note), class_="hf-reason", role="note") for note in notes)


def _heading(comparison: Comparison) -> str:
    asked = tag("strong", text(comparison.query))
    first = comparison.rankings[0].model
    words = f"Arrows tell how passages moved against {tag('em', text(first))}." if len(comparison.rankings) > 1 else ""
    known = " A green edge marks a known answer." if comparison.answers else ""
    said = tag(
        "p", "Results for ", asked, f" in {text(comparison.corpus)}. {words}{known}", class_="hf-meta", role="status"
    )
    return said + notes_html(comparison.notes)


def _column(comparison: Comparison, at: int, names: Mapping[str, str]) -> str:
    ranking = comparison.rankings[at]
    scores = [hit.score for hit in ranking.hits]
    span = min([0.0, *scores]), max(scores, default=0.0)
    rows = [_hit(hit, comparison, names[hit.id], span, first=not at) for hit in ranking.hits]
    head = tag("h3", text(ranking.model), title=ranking.model)
    head += tag("span", f"{ranking.milliseconds:.0f} ms", class_="hf-meta", title="Time to answer this query")
    body = tag("ol", *rows, class_="hf-ranked") if rows else tag("p", NOTHING, class_="hf-meta")
    return tag(
        "article", tag("header", head), body, _elsewhere(comparison, at), class_="hf-answer", aria_label=ranking.model
    )


def _hit(hit: Hit, comparison: Comparison, name: str, span: tuple[float, float], *, first: bool) -> str:
    known = hit.id in comparison.answers
    head = [
        tag("span", str(hit.rank), class_="hf-rank"),
        title_button(hit, comparison.query, name),
        tag("span", "✓", class_="hf-known", title=KNOWN, role="img", aria_label=KNOWN) if known else "",
        "" if first else moved_mark(hit),
    ]
    low, high = span
    width = (hit.score - low) / (high - low) * 100 if high > low else 0.0
    bar = tag("div", tag("span", style=f"width:{width:.0f}%"), class_="hf-bar hf-score", aria_hidden="true")
    return tag(
        "li",
        tag("div", *head, class_="hf-hit-head"),
        tag("div", bar, tag("span", f"{hit.score:.3f}", class_="hf-number"), class_="hf-scoreline"),
        tag("p", snippet(comparison.query, hit.text)),
        data_id=hit.id,
        class_="hf-hit hf-answers" if known else "hf-hit",
    )


def _whole(hit: Hit, query: str, name: str) -> str:
    body = hit.text if len(hit.text) <= WHOLE else f"{hit.text[:WHOLE]}…"
    close = tag("button", "Close", type="button", popovertarget=name, popovertargetaction="hide", class_="hf-close")
    head = tag("header", tag("h3", marked(query, hit.title or hit.id)), close)
    inner = head + tag("p", text(hit.id), class_="hf-meta") + tag("div", marked(query, body), class_="hf-whole-text")
    return tag("div", inner, id=name, popover="auto", class_="hf-whole", role="dialog", aria_label=hit.title or hit.id)


def _elsewhere(comparison: Comparison, at: int) -> str:
    """Say where the known answers are that are not among the passages shown."""
    shown = {hit.id for hit in comparison.rankings[at].hits}
    missing = [identity for identity in comparison.answers if identity not in shown]
    if not missing:
        return ""
    places = [comparison.places[at].get(identity) for identity in missing]
    found = sorted(place for place in places if place is not None)
    words = [f"at {', '.join(map(str, found))}"] if found else []
    lost = len(places) - len(found)
    words += [f"{lost if len(places) > 1 else ''} not near the top".strip()] if lost else []
    more = "Known answer" if len(missing) == 1 else f"{len(missing)} more known answers"
    return tag("p", text(f"{more}: {', '.join(words)}."), class_="hf-elsewhere")


def _mark(words: str, kind: str, meaning: str) -> str:
    return tag("span", words, class_=f"hf-mark {kind}", title=meaning, aria_label=meaning, role="img")
