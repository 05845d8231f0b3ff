"""The course of training: loss and dev by step, as data and as a figure in the run."""

from __future__ import annotations

from typing import Any

from hfembed.run import LAYOUT, Run, write_json
from hfembed.train.preconvergence import HIT_MAPS, HIT_PLAIN

# A manifest holds so many losses of a phase at most; the file of curves holds all.
MAX_POINTS = 200
WIDTH, HEIGHT = 8.0, 3.2


def write_curves(run: Run, phases: list[dict[str, Any]]) -> None:
    """Write what was logged of every phase, and a figure of it where matplotlib is installed."""
    run.path(LAYOUT.curves).parent.mkdir(parents=True, exist_ok=True)
    write_json(run.path(LAYOUT.curves), {"phases": phases})
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return  # the figure is a convenience, the data is there
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white", layout="constrained")
    hits = (("hit@1, plain", HIT_PLAIN), ("hit@1, entity maps", HIT_MAPS))
    losses, scores = figure.subplots(1, 2)
    start = 0
    for number, phase in enumerate(phases, 1):
        name = f"{number}. {phase['method']}"
        drawn = [(losses, "loss", name), (scores, "dev", name), *((scores, key, said) for said, key in hits)]
        for axes, key, label in drawn:
            points = [(start + entry["step"], entry[key]) for entry in phase["log"] if key in entry]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, linewidth=1, marker=None if key == "loss" else ".")
        start += phase["planned_steps"]
    for axes, title in ((losses, "loss"), (scores, "nDCG@10 on dev")):
        axes.set(title=title, xlabel="step")
        if axes.lines:
            axes.legend(frameon=False)
    figure.savefig(run.path(LAYOUT.curves_figure), dpi=120)


def thin(phase: dict[str, Any]) -> dict[str, Any]:
    """Return a phase for a manifest: every look, and of the losses as many as a figure shows."""
    losses = [entry for entry in phase["log"] if "loss" in entry]
    step = -(-len(losses) // MAX_POINTS) if losses else 1
    curves = {
        "loss": [[entry["step"], entry["loss"]] for entry in losses[::step]],
        "dev": [[entry["step"], entry["dev"]] for entry in phase["log"] if "dev" in entry],
    }
    looks = [entry for entry in phase["log"] if "mean_cosine" in entry]
    return {name: value for name, value in phase.items() if name != "log"} | {"curves": curves, "looks": looks}
