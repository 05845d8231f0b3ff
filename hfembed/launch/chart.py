"""Chart: what presets made of the same base, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hfembed.figures import BLUE, GREY, INK, can_draw, new_figure, to_png
from hfembed.run import COMPARISON_LAYOUT

METRIC = "ndcg@10"
WIDTH = 0.36


def draw_chart(rows: Sequence[dict[str, Any]], folder: Path) -> Path | None:
    """Write the chart of a comparison; nothing where matplotlib is not installed, or nothing was scored."""
    scored = [row for row in rows if row["metrics"]]
    if not scored or not can_draw():
        return None
    file = folder / COMPARISON_LAYOUT.chart
    file.write_bytes(_draw(scored))
    return file


def _draw(rows: Sequence[dict[str, Any]]) -> bytes:
    """Draw two bars for each preset; the line on tuned is the interval of its difference to the base."""
    figure, (axes,) = new_figure(max(4.5, 1.6 * len(rows) + 1.5), 3.2)
    scores = [row["metrics"][METRIC] for row in rows]
    for shift, name, colour in ((-0.5, "base", GREY), (0.5, "tuned", BLUE)):
        values = [score[name] for score in scores]
        at = [place + shift * (WIDTH + 0.02) for place in range(len(rows))]
        axes.bar(at, values, WIDTH, color=colour, label=name, zorder=2)
    spread = [
        [max(0.0, score["delta"] - score["ci"][0]) for score in scores],
        [max(0.0, score["ci"][1] - score["delta"]) for score in scores],
    ]
    at = [place + 0.5 * (WIDTH + 0.02) for place in range(len(rows))]
    axes.errorbar(
        at, [score["tuned"] for score in scores], yerr=spread, fmt="none", ecolor=INK, capsize=3, lw=1.3, zorder=3
    )
    for place, score in zip(at, scores, strict=True):
        axes.annotate(
            f"{score['delta']:+.4f}", (place, score["base"] + score["ci"][1]), xytext=(0, 5),
            textcoords="offset points", ha="center", fontsize=8, color=INK,
        )  # fmt: skip
    axes.set_xticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_ylim(0, 1.08)
    axes.set_title("nDCG@10 on held-out queries; lines: interval of tuned minus base", fontsize=9, color=INK)
    axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1), fontsize=9)
    return to_png(figure)
