"""Figures as the report and the cards show them: on a light background, the same bytes for the same data."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY, BLUE, SAND, RED, GREEN, INK = "#9aa5b1", "#2563eb", "#e0b057", "#dc2626", "#2f9e6e", "#1f2933"
GRID = "#e4e7eb"
DOTS_PER_INCH = 130


def can_draw() -> bool:
    """Tell whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Any]]:
    """Return a figure and its axes, side by side, with nothing but what is read."""
    from matplotlib.figure import Figure

    # Without pyplot: no backend is chosen and no state is shared between threads.
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    panels = figure.subplots(1, columns, sharey=True, squeeze=False)[0].tolist()
    for axes in panels:
        axes.set_facecolor("white")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
        axes.grid(axis="y", color=GRID, zorder=0)
    return figure, panels


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    buffer = io.BytesIO()
    # No software name or date: the same run gives the same bytes, and so no second commit.
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
