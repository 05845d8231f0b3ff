"""What is shown of a query generator: what its training did, and what can be set of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from hfembed.terminal import results, show_seconds

if TYPE_CHECKING:
    from hfembed.recipe import Section


def show_trained(done: dict[str, Any]) -> None:
    """Print what a training did, what its guards saw, and how its result is used."""
    if done["method"] == "sft":
        types = ", ".join(f"{count:,} {name}" for name, count in done["types"].items())
        results.print(f"taught {done['pairs']:,} queries ({types}) in {show_seconds(done['seconds'])}")
        results.print(f"loss {done['loss']['start']:.3f} -> [bold]{done['loss']['end']:.3f}[/]")
    else:
        results.print(f"{done['steps']:,} steps on {done['prompts']:,} prompts in {show_seconds(done['seconds'])}")
        results.print(_course_table(done))
        if done["quiet"]:
            results.print("[green]The guards were quiet.[/]")
        for guard in done["guards"].values():
            results.print(f"[yellow]Step {guard['step']}:[/] {escape(guard['sentence'])}")
        results.print(
            "[dim]Its queries are better once a retriever trained on them beats one trained on those of sft, on "
            "questions that people asked: hfembed evaluate MODEL --corpus SRC --queries FILE --base OTHER[/]"
        )
    where = escape(done["generator"])
    results.print(f"\nUse it: [bold]--set generate.method=model --set generate.llm.model={where}[/]")


def show_settings(name: str, settings: Section, prefix: str = "") -> None:
    """Print the settings of one training."""
    table = Table(f"[bold cyan]{name}[/]", "", "", box=None, pad_edge=False, header_style="")
    table.columns[2].overflow = "fold"
    for key, default, meaning in _rows(settings, prefix):
        table.add_row(key, f"[dim]{escape(default)}[/]", escape(meaning))
    results.print(table)
    results.print()


def _course_table(done: dict[str, Any]) -> Table:
    table = Table("", "start", "end", box=None, pad_edge=False, header_style="dim")
    rows = {"reward": done["reward"], **{f"  {name}": ends for name, ends in done["parts"].items()}}
    shown = ("hit@1", "hit@10", "unique", "copied", "entropy", "kl")
    for name, ends in {**rows, **{name: done["watched"][name] for name in shown}}.items():
        table.add_row(name, f"{ends['start']:.3f}", f"[bold]{ends['end']:.3f}[/]")
    return table


def _rows(settings: Section, prefix: str) -> list[tuple[str, str, str]]:
    from pydantic import BaseModel

    rows = []
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        rows.append((f"{prefix}{key}", "" if isinstance(value, BaseModel) else str(value), field.description or ""))
        if isinstance(value, BaseModel):
            rows += _rows(value, f"{prefix}{key}.")  # type: ignore[arg-type]
    return rows
