"""Figures of the model card, on a light background; none where matplotlib is not installed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from hfembed.push.facts import METRIC_NAMES
from hfembed.push.queries import Changes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS_FIGURE = "figures/metrics.png"
CHANGES_FIGURE = "figures/changes.png"

GREY, BLUE, SAND, RED, INK = "#9aa5b1", "#2563eb", "#e0b057", "#dc2626", "#1f2933"
DOTS_PER_INCH = 130


def draw_figures(report: dict[str, Any], changes: Changes) -> dict[str, bytes]:
    """Return PNG files by their name in the repo."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return {}
    return {METRICS_FIGURE: _draw_metrics(report), CHANGES_FIGURE: _draw_changes(changes)}


def _draw_metrics(report: dict[str, Any]) -> bytes:
    """Draw bars of base, tuned and BM25; the line on tuned is the interval of its difference to the base."""
    figure, axes = _new_figure(7.2, 3.2)
    rows = report["metrics"]
    places = np.arange(len(rows))
    for shift, (name, colour) in enumerate((("base", GREY), ("tuned", BLUE), ("bm25", SAND))):
        values = [row[name] for row in rows.values()]
        label = {"bm25": "BM25"}.get(name, name)
        axes.bar(places + (shift - 1) * 0.27, values, 0.25, color=colour, label=label, zorder=2)
    centres = np.array([row["base"] + row["delta"] for row in rows.values()])
    below = centres - np.array([row["base"] + row["ci"][0] for row in rows.values()])
    above = np.array([row["base"] + row["ci"][1] for row in rows.values()]) - centres
    spread = np.clip([below, above], 0, None)
    axes.errorbar(places, centres, yerr=spread, fmt="none", ecolor=INK, capsize=4, lw=1.4, zorder=3)
    axes.set_xticks(places, [METRIC_NAMES.get(name, name) for name in rows])
    axes.set_ylim(0, 1.02)
    axes.set_title(
        f"Held-out queries; lines: {report['confidence']:.0%} interval of tuned minus base", fontsize=9, color=INK
    )
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.1), fontsize=9)
    return _png(figure)


def _draw_changes(changes: Changes) -> bytes:
    """Draw how many queries moved by how much."""
    figure, axes = _new_figure(7.2, 2.8)
    edges = np.linspace(-1, 1, 42)
    moved = changes.deltas[np.abs(changes.deltas) > 1e-9]
    for part, colour, label in (
        (moved[moved > 0], BLUE, f"better ({changes.wins:,})"),
        (moved[moved < 0], RED, f"worse ({changes.losses:,})"),
    ):
        axes.hist(part, edges, color=colour, label=label, zorder=2)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_xlabel("nDCG@10 of a query, tuned minus base", fontsize=9)
    axes.set_ylabel("queries", fontsize=9)
    axes.set_title(f"{changes.ties:,} of {len(changes.deltas):,} queries did not change", fontsize=9, color=INK)
    axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def _new_figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    # Without pyplot: no backend is chosen and no state is shared between threads.
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = figure.add_subplot(facecolor="white")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", color="#e4e7eb", zorder=0)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No software name or date: the same run gives the same bytes, and so no second commit.
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
