"""Lines between two lists of passages: who stands where in the one and in the other."""

from __future__ import annotations

from hfembed.compare import Ranking

from .html import tag

# Units of the drawing for one passage; the page stretches it to the height of the lists.
ROW, WIDTH = 100, 100


def lines_svg(left: Ranking, right: Ranking) -> str:
    """Return one line for each passage that both lists have, and a dot for each that only one of them has."""
    before = {hit.id: hit.rank for hit in left.hits}
    after = {hit.id: hit.rank for hit in right.hits}
    rows = max(len(before), len(after))
    drawn = [_line(identity, rank, after[identity]) for identity, rank in before.items() if identity in after]
    height = f"calc(var(--hf-row) * {rows})"
    box = f"0 0 {WIDTH} {max(1, rows) * ROW}"
    return tag("svg", *drawn, class_="hf-lines", viewBox=box, preserveAspectRatio="none", style=f"height:{height}",
               aria_hidden="true")  # fmt: skip


def _line(identity: str, before: int, after: int) -> str:
    first, last = ((rank - 0.5) * ROW for rank in (before, after))
    kind = "hf-rose" if after < before else "hf-fell" if after > before else "hf-stayed"
    path = f"M0 {first:g} C{WIDTH / 2:g} {first:g} {WIDTH / 2:g} {last:g} {WIDTH} {last:g}"
    return tag("path", d=path, class_=kind, data_id=identity, vector_effect="non-scaling-stroke")
