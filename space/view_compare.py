"""Rankings side by side: score bars, and how many places each passage moved."""

from __future__ import annotations

from collections.abc import Sequence

from hfembed.compare import Hit, Ranking

from .html import tag, text

SNIPPET = 320


def rankings_html(query: str, rankings: Sequence[Ranking], names: Sequence[str]) -> str:
    """Return one column for each model; the first is what the others are measured against."""
    last = {hit.id for hit in rankings[-1].hits}
    columns = [
        _column(name, ranking, first=index == 0, kept=last)
        for index, (name, ranking) in enumerate(zip(names, rankings, strict=True))
    ]
    heading = tag("p", "Results for ", tag("strong", text(query)), class_="hf-meta", role="status")
    return tag("section", heading, tag("div", *columns, class_="hf-columns"), aria_label="Comparison")


def _column(name: str, ranking: Ranking, *, first: bool, kept: set[str]) -> str:
    top = max((hit.score for hit in ranking.hits), default=0.0)
    hits = [_hit(hit, _base_mark(hit, kept) if first else moved_mark(hit), top) for hit in ranking.hits]
    head = tag("h3", text(name)) + tag("span", f"{ranking.milliseconds:.0f} ms", class_="hf-meta")
    body = tag("ol", *hits, class_="hf-hits") if hits else tag("p", "No passage.", class_="hf-meta")
    return tag("article", tag("header", head, class_="hf-head"), body, class_="hf-column", aria_label=name)


def moved_mark(hit: Hit) -> str:
    """Return how far a passage moved against the first model, for eyes and for screen readers."""
    if hit.moved is None:
        return _mark("new", "hf-up", "was not among the first model's passages")
    if hit.moved == 0:
        return _mark("=", "hf-even", "same place")
    places = f"{abs(hit.moved)} place{'s' if abs(hit.moved) > 1 else ''}"
    up = hit.moved > 0
    return _mark(
        f"{'↑' if up else '↓'}{abs(hit.moved)}", "hf-up" if up else "hf-down", f"{'up' if up else 'down'} {places}"
    )


def _base_mark(hit: Hit, kept: set[str]) -> str:
    return "" if hit.id in kept else _mark("out", "hf-down", "not among the tuned model's passages")


def _mark(words: str, kind: str, meaning: str) -> str:
    return tag("span", words, class_=f"hf-mark {kind}", title=meaning, aria_label=meaning, role="img")


def _hit(hit: Hit, mark: str, top: float) -> str:
    width = max(0.0, hit.score / top * 100) if top > 0 else 0.0
    body = " ".join(hit.text.split())
    body = body if len(body) <= SNIPPET else body[: SNIPPET - 1] + "…"
    bar = tag("div", tag("span", style=f"width:{width:.0f}%"), class_="hf-bar hf-score", aria_hidden="true")
    head = tag("div", tag("span", str(hit.rank), class_="hf-rank"), tag("b", text(hit.title or hit.id)), mark)
    score = tag("div", bar, tag("span", f"{hit.score:.3f}", class_="hf-number"), class_="hf-scoreline")
    return tag("li", head, score, tag("p", text(body)), data_id=hit.id)
