"""Figures of the report: the scores, what became of each query, and answers against the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.evaluate.separation import Separation
from hfembed.figures import BLUE, GREEN, GREY, INK, RED, SAND, can_draw, new_figure, to_png

NAMES = {"ndcg@10": "nDCG@10", "recall@10": "Recall@10", "mrr@10": "MRR@10", "hit@1": "Hit@1"}
BARS = (("base", "base", GREY), ("tuned", "tuned", BLUE), ("bm25", "BM25", SAND), ("fusion", "tuned + BM25", GREEN))
WIDTH = 0.2
# Bars on either side of no change.
BINS = 20
# More than one, to leave room for rounding.
LARGEST_COSINE = 1.001
# Differences below this are rounding, not ranks.
SAME = 1e-9


def draw_figures(
    report: Mapping[str, Any], deltas: npt.NDArray[np.float64], separations: Mapping[str, Separation]
) -> dict[str, bytes]:
    """Return PNG files by name; none where matplotlib is not installed."""
    if not can_draw():
        return {}
    figures = {"metrics.png": _draw_metrics(report), "changes.png": _draw_changes(deltas)}
    if all(len(separation.answers) for separation in separations.values()):
        figures["separation.png"] = _draw_separation(separations)
    return figures


def _draw_metrics(report: Mapping[str, Any]) -> bytes:
    """Draw a bar for each search; the line on tuned is the interval of its difference to the base."""
    figure, (axes,) = new_figure(7.2, 3.2)
    rows = report["metrics"]
    places = np.arange(len(rows))
    for shift, (name, label, colour) in enumerate(BARS):
        values = [row[name] for row in rows.values()]
        axes.bar(places + (shift - 1.5) * (WIDTH + 0.02), values, WIDTH, color=colour, label=label, zorder=2)
    bases, (lows, highs) = (
        np.array([row["base"] for row in rows.values()]),
        np.array([row["ci"] for row in rows.values()]).T,
    )
    tuned = np.array([row["tuned"] for row in rows.values()])
    spread = np.clip([tuned - bases - lows, bases + highs - tuned], 0, None)
    at = places - 0.5 * (WIDTH + 0.02)
    axes.errorbar(at, tuned, yerr=spread, fmt="none", ecolor=INK, capsize=3, lw=1.3, zorder=3)
    axes.set_xticks(places, [NAMES.get(name, name) for name in rows])
    axes.set_ylim(0, 1.02)
    axes.set_title(
        f"Held-out queries; lines: {report['confidence']:.0%} interval of tuned minus base", fontsize=9, color=INK
    )
    axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.1), fontsize=9)
    return to_png(figure)


def _draw_changes(deltas: npt.NDArray[np.float64]) -> bytes:
    """Draw how many queries moved by how much."""
    figure, (axes,) = new_figure(7.2, 2.8)
    reach = max(0.1, float(np.abs(deltas).max(initial=0)))
    edges = np.linspace(-reach, reach, 2 * BINS + 1)  # with an edge at zero
    better, worse = deltas[deltas > SAME], deltas[deltas < -SAME]
    axes.hist(better, edges, color=BLUE, label=f"better ({len(better):,})", zorder=2)
    axes.hist(worse, edges, color=RED, label=f"worse ({len(worse):,})", zorder=2)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_xlabel("nDCG@10 of a query, tuned minus base", fontsize=9)
    axes.set_ylabel("queries", fontsize=9)
    same = len(deltas) - len(better) - len(worse)
    axes.set_title(f"{same:,} of {len(deltas):,} queries did not change", fontsize=9, color=INK)
    axes.legend(frameon=False, fontsize=9)
    return to_png(figure)


def _draw_separation(separations: Mapping[str, Separation]) -> bytes:
    """Draw, before and after, the cosines of right answers and of the best wrong ones."""
    figure, panels = new_figure(7.2, 2.8, columns=len(separations))
    values = np.concatenate([part for found in separations.values() for part in (found.answers, found.others)])
    by_cosine = float(np.abs(values).max()) <= LARGEST_COSINE
    edges = np.linspace(min(0.0, float(values.min())), 1 if by_cosine else float(values.max()), 41)
    for axes, (name, found) in zip(panels, separations.items(), strict=True):
        axes.hist(found.others, edges, color=GREY, alpha=0.9, label="best other document", zorder=2)
        axes.hist(found.answers, edges, color=BLUE, alpha=0.6, label="the answer", zorder=3)
        above = float((found.answers > found.others).mean())
        axes.set_title(f"{name}: the answer is above for {above:.0%} of the queries", fontsize=9, color=INK)
        axes.set_xlabel(f"{'cosine to' if by_cosine else 'score for'} the query", fontsize=9)
    panels[0].set_ylabel("queries", fontsize=9)
    panels[0].legend(frameon=False, fontsize=8)
    return to_png(figure)
