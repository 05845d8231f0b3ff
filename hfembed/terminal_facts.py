"""What a stage has to show of its results: how they spread, as bars, and some of them to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

BAR_WIDTH = 40


def show_facts(console: Console, facts: Mapping[str, Any]) -> None:
    """Print the histograms and samples that a stage put among its facts."""
    for name, histogram in facts.get("histograms", {}).items():
        console.print()
        console.print(_bars(name, histogram["edges"], histogram["counts"]))
    for sample in facts.get("samples", []):
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for key, value in sample.items():
            if value not in ("", None):
                table.add_row(key, escape(str(value)))
        console.print()
        console.print(table)


def _bars(name: str, edges: Sequence[float], counts: Sequence[int]) -> Table:
    """Return a histogram as bars; a row counts what is at least its first edge and below its second."""
    table = Table(name, "", "", box=None, pad_edge=False, header_style="dim")
    filled = [at for at, count in enumerate(counts) if count]
    for at in range(filled[0], filled[-1] + 1) if filled else ():
        low, high, count = edges[at], edges[at + 1], counts[at]
        bar = "█" * round(BAR_WIDTH * count / max(1, *counts))
        table.add_row(_interval(low, high), f"[cyan]{bar or '▏' * bool(count)}[/]", f"[dim]{count:,}[/]")
    return table


def _interval(low: float, high: float) -> str:
    if isinstance(low, int) and isinstance(high, int):
        return f"{low:,} to {high - 1:,}"
    return f"{low:.2f} to {high:.2f}"
