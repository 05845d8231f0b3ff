"""Chart: the headroom of every domain, and of the tasks that it is made of."""

from __future__ import annotations

from pathlib import Path

from hfembed.domains.headroom import WITHIN
from hfembed.domains.rank import Found
from hfembed.errors import InputError
from hfembed.figures import BLUE, GREY, INK, new_figure, to_png
from hfembed.stage import require

ROW = 0.42
# Circles of tasks grow with their weight.
SMALL, LARGE = 12.0, 46.0


def draw_domains(found: Found, file: Path) -> Path:
    """Write a bar for each domain and a circle for each of its tasks; refuse what is no PNG, or has nothing to show."""
    if file.suffix.lower() != ".png":
        raise InputError(f"The chart is to be '{file.name}', but it is a PNG.", f"--chart {file.stem}.png")
    require("train", "matplotlib")
    domains = [(domain, domain.headroom) for domain in found.domains if domain.headroom is not None]
    if not domains:
        raise InputError("There is no headroom to draw: no domain could be scored.", "--results DIR with more results")
    figure, (axes,) = new_figure(7.2, 1.3 + ROW * len(domains))
    rows = range(len(domains) - 1, -1, -1)
    axes.barh(list(rows), [100 * headroom for _, headroom in domains], 0.6, color=BLUE, zorder=2)
    for row, (domain, _) in zip(rows, domains, strict=True):
        gains = [100 * task.headroom for task in domain.tasks]
        sizes = [SMALL + (LARGE - SMALL) * task.weight for task in domain.tasks]
        axes.scatter(gains, [row] * len(gains), s=sizes, color=GREY, edgecolor=INK, linewidth=0.5, zorder=3)
    axes.set_yticks(list(rows), [f"{domain.name}" for domain, _ in domains])
    axes.set_xlabel(f"points behind the best, for models of up to {show_size(WITHIN * found.size)}", fontsize=9)
    axes.set_title("Headroom by domain; circles: its tasks, larger where they count more", fontsize=9, color=INK)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color="#e4e7eb", zorder=0)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(to_png(figure))
    return file


def show_size(parameters: float) -> str:
    """Return a number of parameters as people say it."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{name}"
    return f"{parameters:.0f}"
