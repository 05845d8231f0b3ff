"""Charts: lines over steps, as SVG in the colours of the theme, readable without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .html import tag, text

Point = tuple[float, float]

WIDTH, HEIGHT = 320, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 22


def line_chart(title: str, curve: Sequence[Point], unit: str = "steps", digits: int = 3) -> str:
    """Return a curve with its range; nothing for fewer than two points."""
    if len(curve) < 2:
        return ""
    (low_x, high_x), (low, high) = _range([x for x, _ in curve]), _range([y for _, y in curve])
    points = [(_across(x, low_x, high_x), _up(y, low, high)) for x, y in curve]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    labels = [
        _label(LEFT - 6, _up(low, low, high) + 4, f"{low:.{digits}f}", "end"),
        _label(LEFT - 6, _up(high, low, high) + 4, f"{high:.{digits}f}", "end"),
        _label(LEFT, HEIGHT - 4, f"{low_x:,.0f}", "start"),
        _label(WIDTH - RIGHT, HEIGHT - 4, f"{high_x:,.0f} {unit}", "end"),
    ]
    marks = tag("circle", cx=f"{points[-1][0]:.1f}", cy=f"{points[-1][1]:.1f}", r="3", class_="hf-dot-mark")
    axes = "".join(
        tag("line", x1=str(LEFT), x2=str(WIDTH - RIGHT), y1=f"{y:.1f}", y2=f"{y:.1f}", class_="hf-grid")
        for y in (_up(low, low, high), _up(high, low, high))
    )
    words = f"{title}: {curve[0][1]:.{digits}f} at first, {curve[-1][1]:.{digits}f} now, over {high_x:,.0f} {unit}"
    drawing = tag(
        "svg",
        axes,
        tag("polyline", points=path, class_="hf-line"),
        marks,
        *labels,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=words,
    )
    return tag("figure", tag("figcaption", text(title)), drawing, class_="hf-chart")


def charts(curves: Mapping[str, Sequence[Point]], names: Mapping[str, str]) -> str:
    """Return the charts of those curves that have a name, side by side."""
    drawn = "".join(line_chart(names[key], curves[key]) for key in names if key in curves)
    return tag("div", drawn, class_="hf-charts") if drawn else ""


def _range(values: Sequence[float]) -> Point:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _across(x: float, low: float, high: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (x - low) / (high - low)


def _up(y: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / (high - low)


def _label(x: float, y: float, words: str, anchor: str) -> str:
    return tag("text", text(words), x=f"{x:.0f}", y=f"{y:.0f}", text_anchor=anchor)
