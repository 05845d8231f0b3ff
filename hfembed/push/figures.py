"""The figure of the dataset card: how near positives and negatives are to their queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hfembed.figures import BLUE, GREY, can_draw, new_figure, to_png

SIMILARITY = "figures/similarity.png"
# Cosines lie within 1, and their last bin ends a little later.
LARGEST_EDGE = 1.06
PARTS = (("negatives", GREY, 0.9), ("positives", BLUE, 0.6))


def draw_similarity(histograms: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the figure by its name in the repo; none without matplotlib, or where mining counted nothing."""
    known = [part for part in PARTS if sum(histograms.get(part[0], {}).get("counts", []))]
    if not known or not can_draw():
        return {}
    figure, (axes,) = new_figure(7.2, 2.8)
    for name, colour, alpha in known:
        edges, counts = (np.array(histograms[name][key], dtype=np.float64) for key in ("edges", "counts"))
        # As shares: there are several negatives for every positive.
        shares = counts / counts.sum()
        axes.bar(edges[:-1], shares, np.diff(edges), align="edge", color=colour, alpha=alpha, label=name, zorder=2)
    widest = max(abs(float(edge)) for name, _, _ in known for edge in histograms[name]["edges"])
    axes.set_xlabel("cosine to the query" if widest <= LARGEST_EDGE else "score for the query", fontsize=9)
    axes.set_ylabel("share", fontsize=9)
    axes.legend(frameon=False, fontsize=9)
    return {SIMILARITY: to_png(figure)}
