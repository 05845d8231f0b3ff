"""Many queries at once: who wins how often, by how much on which query, and the queries to look into."""

from __future__ import annotations

from collections.abc import Sequence

from hfembed.compare.batch import SHOWN, Batch, Line
from hfembed.evaluate.verdict import Verdict

from .html import tag, text
from .view_compare import notes_html

LISTED = 100
WIDTH, HALF = 640, 60
EVEN = 1e-9


def batch_html(batch: Batch, notes: Sequence[str]) -> str:
    """Return the table, a chart for each model against the first, and the queries that differ most."""
    others = range(1, len(batch.names))
    if not others:
        table = tag("p", text(f"{batch.names[0]}: {_mean(batch, 0)}"), class_="hf-meta")
        return tag("section", notes_html(notes), table, _listed(batch), aria_label="Many queries")
    charts = tag("div", *(_chart(batch, at) for at in others), class_="hf-deltas")
    table = _versus(batch) if batch.labelled else _agreement(batch)
    return tag("section", notes_html(notes), table, charts, _listed(batch), aria_label="Many queries")


def _versus(batch: Batch) -> str:
    heads = ("model", "nDCG@10", "wins", "ties", "losses", "difference")
    first = [tag("td", "") for _ in heads[2:]]
    rows = [_scores_row(batch, 0, first)]
    for at in range(1, len(batch.names)):
        found = batch.versus(at)
        words = {Verdict.BETTER: "better", Verdict.WORSE: "worse"}.get(found.comparison.verdict, "no difference told")
        interval = f"{found.comparison.low:+.3f} to {found.comparison.high:+.3f}"
        kind = {Verdict.BETTER: "hf-up", Verdict.WORSE: "hf-down"}.get(found.comparison.verdict, "hf-even")
        cells = [tag("td", f"{number:,}", class_="hf-number") for number in (found.wins, found.ties, found.losses)]
        delta = tag("b", f"{found.comparison.delta:+.3f}") + tag("small", text(f"{words}, {interval}"))
        rows.append(_scores_row(batch, at, [*cells, tag("td", delta, class_=f"hf-number {kind}")]))
    caption = (
        f"{len(batch.lines):,} queries with known answers. Wins, ties and losses count queries that rank better, alike "
        f"or worse than under {batch.names[0]}."
    )
    return _table(heads, rows, caption)


def _agreement(batch: Batch) -> str:
    first = batch.names[0]
    rows = [_scores_row(batch, at, []) for at in range(1, len(batch.names))]
    caption = (
        f"{len(batch.lines):,} queries whose answers nobody told: how many of the first {SHOWN} passages each model "
        f"has in common with {first}."
    )
    return _table(("model", f"in common with {first}"), rows, caption)


def _scores_row(batch: Batch, at: int, cells: list[str]) -> str:
    mean = tag("td", _mean(batch, at), class_="hf-number")
    return tag("tr", tag("th", text(batch.names[at]), scope="row"), mean, *cells)


def _mean(batch: Batch, at: int) -> str:
    mean = batch.mean(at)
    return f"{mean:.4f}" if batch.labelled else f"{mean * SHOWN:.1f} of {SHOWN}"


def _table(heads: Sequence[str], rows: list[str], caption: str) -> str:
    head = tag("thead", tag("tr", *(tag("th", text(name), scope="col") for name in heads)))
    table = tag("table", tag("caption", text(caption)), head, tag("tbody", *rows), class_="hf-scores")
    return tag("div", table, class_="hf-scroll")


def _chart(batch: Batch, at: int) -> str:
    """Return a bar for each query: by how much it gained or lost, the largest gain first."""
    lines = sorted(batch.lines, key=lambda line: -line.delta(at))
    wide, most = WIDTH / len(lines), max((abs(line.delta(at)) for line in lines), default=0.0) or 1.0
    bars = [_bar(line, at, number * wide, wide, most) for number, line in enumerate(lines)]
    floor = 2 * HALF if batch.labelled else HALF
    axis = tag("line", x1="0", x2=str(WIDTH), y1=str(HALF), y2=str(HALF), class_="hf-axis")
    name, first = batch.names[at], batch.names[0]
    words = f"{name} against {first}: {'gain or loss in nDCG@10' if batch.labelled else 'how much differs'}, by query"
    drawing = tag("svg", *bars, axis, viewBox=f"0 0 {WIDTH} {floor}", preserveAspectRatio="none", role="img",
                  aria_label=words, style=f"height:{floor}px")  # fmt: skip
    return tag("figure", tag("figcaption", text(words)), drawing, class_="hf-delta")


def _bar(line: Line, at: int, left: float, wide: float, most: float) -> str:
    delta = line.delta(at)
    height = max(abs(delta) / most * (HALF - 2), 1.0)
    kind = "hf-same" if abs(delta) < EVEN else "hf-win" if delta > 0 else "hf-loss"
    if not line.scores:
        kind = "hf-differs"
    title = tag("title", text(f"{line.query.text}: {delta:+.3f}"))
    return tag("rect", title, x=f"{left:.2f}", width=f"{max(wide * 0.85, 0.4):.2f}", height=f"{height:.2f}",
               y=f"{HALF - height if delta >= 0 else HALF:.2f}", class_=kind, data_query=line.query.text)  # fmt: skip


def _listed(batch: Batch) -> str:
    """Return the queries that differ most, each to be opened side by side."""
    others = range(1, len(batch.names))
    lines = sorted(batch.lines, key=lambda line: -max((abs(line.delta(at)) for at in others), default=0.0))
    rows = [_query_row(batch, line) for line in lines[:LISTED]]
    heads = ("query", *batch.names) if batch.labelled else ("query", *batch.names[1:])
    more = (
        f"The {LISTED} that differ most, of {len(lines):,}." if len(lines) > LISTED else "Those that differ most first."
    )
    table = _table(heads, rows, f"{more} Choose one to see its passages side by side.")
    return tag("div", table, class_="hf-listed", tabindex="0", role="region", aria_label="Queries")


def _query_row(batch: Batch, line: Line) -> str:
    button = tag("button", text(line.query.text), type="button", data_query=line.query.text, class_="hf-title-link")
    if not batch.labelled:
        cells = [tag("td", f"{shared * SHOWN:.0f} of {SHOWN}", class_="hf-number") for shared in line.shared[1:]]
    else:
        cells = [
            tag("td", f"{score:.2f}", class_=f"hf-number {_kind(line, at)}") for at, score in enumerate(line.scores)
        ]
    return tag("tr", tag("th", button, scope="row"), *cells)


def _kind(line: Line, at: int) -> str:
    delta = line.delta(at)
    return "" if abs(delta) < EVEN else "hf-up" if delta > 0 else "hf-down"
