"""A corpus as a map under each model: alike texts near one another, and the query among them."""

from __future__ import annotations

from hfembed.compare.plane import Plane, Points

from .html import tag, text
from .search import Map

SIZE, EDGE = 400, 16
DOT, TOP_DOT = 3.2, 8.5
TITLE = 90


def map_html(drawn: Map) -> str:
    """Return one map for each model; the colours are the same in all of them."""
    maps = [_map(drawn, at) for at in range(len(drawn.names))]
    legend = [
        tag("li", tag("span", class_=f"hf-swatch hf-topic-{at}"), text(name))
        for at, name in enumerate(drawn.topics.names)
    ]
    words = (
        "Every dot is a document, and alike ones stand near one another; hover one for its title. The cross is your "
        "query, the numbers are the passages found for it. A plane shows only part of what a model tells apart, so "
        "near is a hint, not a proof."
    )
    heading = tag("p", "Where ", tag("strong", text(drawn.query)), " stands.", class_="hf-meta", role="status")
    return tag(
        "section",
        heading,
        tag("div", *maps, class_="hf-maps"),
        tag("ul", *legend, class_="hf-legend", aria_label=f"Colours: what {drawn.names[0]} puts together"),
        tag("p", words, class_="hf-meta"),
        aria_label="Map",
    )


def _map(drawn: Map, at: int) -> str:
    plane, ranks = drawn.planes[at], {row: rank for rank, row in enumerate(drawn.top[at], 1)}
    places = {int(row): _place(point) for row, point in zip(plane.rows, plane.points, strict=True)}
    dots = [_dot(drawn, row, place) for row, place in places.items() if row not in ranks]
    cross = _place(plane.query)
    lines = [_line(cross, places[row]) for row in ranks]
    found = [_found(drawn, row, places[row], rank) for row, rank in reversed(ranks.items())]
    name = drawn.names[at]
    drawing = tag("svg", *dots, *lines, *found, _cross(cross), viewBox=f"0 0 {SIZE} {SIZE}", role="img",
                  aria_label=f"Map of the documents under {name}")  # fmt: skip
    caption = tag("h3", text(name)) + tag("span", _share(plane), class_="hf-meta")
    return tag("figure", tag("figcaption", caption), drawing, class_="hf-map")


def _share(plane: Plane) -> str:
    return f"shows {plane.share * 100:.0f}% of all differences"


def _place(point: Points) -> tuple[float, float]:
    half = SIZE / 2
    return half + float(point[0]) * (half - EDGE), half - float(point[1]) * (half - EDGE)


def _dot(drawn: Map, row: int, place: tuple[float, float]) -> str:
    kind = f"hf-topic-{drawn.topics.of_row[row]}" + (" hf-ring" if row in drawn.answers else "")
    radius = DOT * 1.8 if row in drawn.answers else DOT
    return tag("circle", _title(drawn, row), cx=f"{place[0]:.1f}", cy=f"{place[1]:.1f}", r=f"{radius:g}", class_=kind)


def _found(drawn: Map, row: int, place: tuple[float, float], rank: int) -> str:
    x, y = place
    kind = f"hf-topic-{drawn.topics.of_row[row]} hf-top" + (" hf-ring" if row in drawn.answers else "")
    dot = tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{TOP_DOT:g}", class_=kind)
    number = tag("text", str(rank), x=f"{x:.1f}", y=f"{y + 3.2:.1f}", text_anchor="middle", class_="hf-map-rank")
    return tag("g", _title(drawn, row, f"{rank}. "), dot, number, data_id=str(row))


def _title(drawn: Map, row: int, before: str = "") -> str:
    known = " (known answer)" if row in drawn.answers else ""
    return tag("title", text(f"{before}{drawn.titles[row][:TITLE]}{known}"))


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    ends = {key: f"{value:.1f}" for key, value in zip(("x1", "y1", "x2", "y2"), (*start, *end), strict=True)}
    return tag("line", class_="hf-map-line", **ends)


def _cross(place: tuple[float, float]) -> str:
    x, y = place
    path = f"M{x - 8:.1f} {y:.1f}H{x + 8:.1f}M{x:.1f} {y - 8:.1f}V{y + 8:.1f}"
    return tag(
        "g",
        tag("title", "your query"),
        tag("path", d=path, class_="hf-cross-halo"),
        tag("path", d=path, class_="hf-cross"),
    )
