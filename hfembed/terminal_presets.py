"""What a person sees of presets: what one is; of several compared what it will take, all runs at once, one table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from hfembed.events import Event, Listener
from hfembed.launch.send import Plan
from hfembed.launch.steps import Step
from hfembed.recipe import Preset
from hfembed.terminal import LOG_INTERVAL, VERDICT_STYLES, CountColumn, describe_event, results, show_seconds, words
from hfembed.terminal_launch import place_of, show_cost, show_dollars

LINE = 110
METRICS = {"ndcg@10": "nDCG@10", "recall@10": "Recall@10", "mrr@10": "MRR@10"}
MAIN, GAIN = "ndcg@10", "gain in nDCG@10"


class Board:
    """Draws the events of several runs: a line for each thing that is done, with whose it is, and a bar for each run."""

    def __init__(self, progress: Progress) -> None:
        """Draw through `progress`."""
        self._bars, self._lock = progress, threading.Lock()
        self._tasks: dict[str, tuple[TaskID, str]] = {}
        self._logged: dict[str, float] = {}

    def of(self, name: str) -> Listener:
        """Return the listener for one run."""

        def listen(event: Event) -> None:
            with self._lock:
                self._show(name, event)

        return listen

    def _show(self, name: str, event: Event) -> None:
        if event.kind != "progress":
            self._remove(name)
            if event.kind != "failed":  # the error itself is printed once, at the end
                self._bars.console.print(f"[bold]{escape(name)}[/]  {describe_event(event).strip()}")
        elif self._bars.console.is_terminal:
            self._advance(name, event)
        elif event.done and time.monotonic() - self._logged.get(name, 0.0) >= LOG_INTERVAL:
            self._logged[name] = time.monotonic()
            of = f" of {event.total:,}" if event.total else ""
            self._bars.console.print(f"[bold]{escape(name)}[/]  {escape(event.message)}: {event.done:,}{of}")

    def _advance(self, name: str, event: Event) -> None:
        task, message = self._tasks.get(name, (None, ""))
        if task is None or message != event.message:
            self._remove(name)
            task = self._bars.add_task(f"{name}: {escape(event.message)}", total=event.total, unit=event.unit)
            self._tasks[name] = (task, event.message)
        self._bars.update(task, completed=event.done, total=event.total, detail=event.data.get("detail", ""))

    def _remove(self, name: str) -> None:
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name)[0])


@contextmanager
def board() -> Iterator[Callable[[str], Listener]]:
    """Give listeners by name that draw on stderr."""
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), CountColumn()]
    with Progress(*columns, console=words, transient=True) as progress:
        yield Board(progress).of


def show_preset(name: str, preset: Preset) -> None:
    """Print what a preset is and does otherwise than its paper, and the settings that make it what it is."""
    results.print(f"[bold cyan]{escape(name)}[/]  {escape(preset.description)}\n", soft_wrap=False)
    facts = Table.grid(padding=(0, 2))
    for word, text in preset.facts().items():
        facts.add_row(f"[dim]{word.lower()}[/]", escape(text))
    results.print(facts, soft_wrap=False)
    if preset.differs:
        differs = Table.grid(padding=(0, 1))
        for text in preset.differs:
            differs.add_row("[dim]-[/]", escape(text))
        results.print("\n[bold]Otherwise than there[/]", differs, sep="\n", soft_wrap=False)
    if preset.recipe:
        settings = yaml.safe_dump(preset.recipe, sort_keys=False, width=LINE)
        results.print(f"\n[bold]What it sets[/]\n{escape(settings.rstrip())}")
    words.print(
        f"[dim]\nhfembed run SRC --preset {name} runs it; hfembed presets {name} > recipe.yaml writes all settings.[/]"
    )


def show_plans(steps: Sequence[Step], planned: Mapping[str, Plan]) -> None:
    """Print what is to be done, where, and what it is expected to take."""
    table = Table("run", "does", "where", "about", "cost", "at most", box=None, pad_edge=False, header_style="dim")
    for step in steps:
        plan = planned.get(step.name)
        if plan is None:
            table.add_row(escape(step.name), f"[dim]{_span(step.stages)}[/]", "[dim]done or under way[/]")
            continue
        expected = plan.chosen.expected
        paid = expected.dollars is not None
        table.add_row(
            escape(step.name),
            _span(step.stages),
            place_of(plan.place.launcher, plan.chosen.hardware.name),
            show_seconds(expected.seconds),
            show_dollars(expected.dollars or 0.0) if paid else "[dim]-[/]",
            show_dollars(plan.worst) if paid else "[dim]-[/]",
        )
    for column in table.columns[1:]:
        column.no_wrap = True
    words.print(table, soft_wrap=False)
    costs = [plan.chosen.expected.dollars for plan in planned.values() if plan.chosen.expected.dollars is not None]
    if costs:
        most = sum(plan.worst for plan in planned.values())
        words.print(f"Together {show_cost(sum(costs), most)}.")


def show_comparison(found: Mapping[str, Any]) -> None:
    """Print base and every preset, with what was gained, how sure that is, and what it took."""
    table = Table("", *METRICS.values(), GAIN, "verdict", "time", "cost", box=None, pad_edge=False,
                  header_style="dim")  # fmt: skip
    is_first = True
    for row in found["presets"]:
        if row["metrics"] and (is_first or not found["same_queries"]):
            label = "base" if found["same_queries"] else f"base, queries of {row['name']}"
            table.add_row(f"[dim]{escape(label)}[/]", *(f"{row['metrics'][name]['base']:.4f}" for name in METRICS))
            is_first = False
        table.add_row(*_cells(row))
    for column in table.columns:
        column.no_wrap = column.header != GAIN
    results.print(table, soft_wrap=False)
    for row in found["shared"]:
        cost = f", {show_dollars(row['dollars'])}" if row["dollars"] is not None else ""
        stages = _span(tuple(row["stages"])) or "nothing yet"
        names = " and ".join(row["presets"])
        words.print(f"[dim]{escape(names)} share {stages}: {show_seconds(row['seconds'])}{cost}[/]")
    if not found["same_queries"]:
        words.print("[yellow]The presets wrote different test queries: compare their gains, not their scores.[/]")
    for row in (*found["shared"], *found["presets"]):
        if row["error"]:
            words.print(f"[bold red]{escape(row['name'])}:[/] {escape(row['error'])}\n[dim]{escape(row['hint'])}[/]")


def show_clock(seconds: float) -> str:
    """Return a duration as a clock shows it: it takes little room in a table."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    name, took = f"[bold]{escape(row['name'])}[/]", show_clock(row["seconds"])
    cost = show_dollars(row["dollars"]).replace("under ", "<") if row["dollars"] is not None else "[dim]-[/]"
    if not row["metrics"]:
        return [name, "", "", "", "", "[bold red]failed[/]" if row["error"] else "[dim]not yet[/]", took, cost]
    main = row["metrics"][MAIN]
    gain = f"{main['delta']:+.4f} [dim]({main['ci'][0]:+.4f} to {main['ci'][1]:+.4f})[/]"
    verdict = f"[{VERDICT_STYLES[row['verdict']]}]{row['verdict']}[/]"
    return [name, *(f"{row['metrics'][metric]['tuned']:.4f}" for metric in METRICS), gain, verdict, took, cost]


def _span(stages: Sequence[str]) -> str:
    return stages[0] if len(stages) == 1 else f"{stages[0]} to {stages[-1]}" if stages else ""
