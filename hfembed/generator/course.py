"""The course of a training: every step as data, and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hfembed.figures import BLUE, GREEN, GREY, INK, RED, SAND, can_draw, to_png
from hfembed.generator.guards import Log
from hfembed.generator.output import Work
from hfembed.run import GENERATOR_LAYOUT, write_json

Curves = Mapping[str, Mapping[str, str]]
LOSS: Curves = {"loss": {"loss": "loss"}}
REWARDS: Curves = {
    "reward and its parts": {
        "reward": "reward", "rewards/rt/mean": "rank", "rewards/agree/mean": "agree", "rewards/hard/mean": "hard",
        "rewards/format/mean": "format", "rewards/copying/mean": "copying", "rewards/repetition/mean": "repetition",
    },
    "shares": {
        "hit@1": "hit@1", "hit@10": "hit@10", "unique": "distinct", "copied": "copied",
        "completions/clipped_ratio": "without an end", "frac_reward_zero_std": "groups without a signal",
    },
    "entropy and distance (KL)": {"entropy": "entropy", "kl": "KL"},
}  # fmt: skip
COLOURS = (INK, BLUE, GREEN, SAND, RED, GREY, "#8b5cf6")
WIDTH, HEIGHT = 4.2, 3.2
# Lines are drawn as means over about so many pieces of the way.
PIECES = 60


def write_course(log: Log, curves: Curves, work: Work, facts: Mapping[str, Any]) -> None:
    """Write what was logged of every step with `facts`, and a figure of it where matplotlib is installed."""
    steps = [entry for entry in log if "loss" in entry]
    write_json(work.path(GENERATOR_LAYOUT.course), {**facts, "steps": steps})
    if can_draw():
        work.path(GENERATOR_LAYOUT.figure).write_bytes(_draw(steps, curves))


def gather_completions(folder: Path, work: Work) -> None:
    """Put what TRL wrote down of every step, prompts, queries and rewards, into one file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(folder.glob("*.parquet"))
    if files:
        tables = [pq.read_table(file) for file in files]
        pq.write_table(pa.concat_tables(tables, promote_options="default"), work.path(GENERATOR_LAYOUT.completions))


def _draw(steps: Log, curves: Curves) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH * len(curves), HEIGHT), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0].tolist()
    for axes, (title, names) in zip(panels, curves.items(), strict=True):
        for colour, (name, label) in zip(COLOURS, names.items(), strict=False):
            points = [(entry["step"], entry[name]) for entry in steps if entry.get(name) is not None]
            if points:
                axes.plot(*zip(*_smooth(points), strict=True), color=colour, label=label, linewidth=1.2)
        axes.set_title(title, fontsize=9, color=INK)
        axes.set_xlabel("step", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        if len(names) > 1:
            axes.legend(frameon=False, fontsize=7)
    return to_png(figure)


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = max(1, len(points) // PIECES)
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]
