"""What the terminal shows of an endpoint: where it is, and how it compares with the model it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from hfembed.terminal import results, words

if TYPE_CHECKING:
    from hfembed.serve.model import Served
    from hfembed.serve.parity import Parity

SHOWN = ("ndcg@10", "recall@10", "mrr@10", "hit@1", "recall@100")


def show_endpoint(url: str, served: Served, *, has_keys: bool) -> None:
    """Print where an endpoint answers, and how."""
    words.print(f"[bold]{escape(served.name)}[/] at [link={url}]{url}[/]/v1")
    words.print(f"[dim]{served.backend}, {served.precision}; {url}/docs describes it. Ctrl-C ends it.[/]")
    if not has_keys:
        words.print("Everybody in this network can use it: set HFEMBED_API_KEY to demand a key.")


def show_parity(found: Parity) -> None:
    """Print the scores of an endpoint beside those of the checkpoint, and what is wrong."""
    table = Table("", "checkpoint", "endpoint", "difference", "allowed", box=None, pad_edge=False, header_style="dim")
    for metric in SHOWN:
        row = found.metrics[metric]
        numbers = f"{row['checkpoint']:.4f}", f"{row['endpoint']:.4f}", f"{row['difference']:+.4f}"
        table.add_row(metric, *numbers, f"{row['tolerance']:.2f}")
    results.print(table)
    cosine = "" if found.least_cosine is None else f"; least cosine of a text's two vectors: {found.least_cosine:.6f}"
    results.print(f"[dim]{found.queries:,} queries over {found.documents:,} documents{cosine}[/]")
    for problem in found.problems:
        results.print(f"[red]{escape(problem)}[/]")
    if found.same:
        results.print(f"[green]{escape(found.model)} at {escape(found.endpoint)} gives what was tested.[/]")
