"""What a person sees of runs that are sent elsewhere: what they will take, how they stand, how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from hfembed.events import Event
from hfembed.launch.contract import Offer
from hfembed.launch.record import Launch, Outcome, Standing
from hfembed.launch.send import Plan
from hfembed.terminal import results, show_seconds, words

# Other machines that are shown beside the chosen one, cheapest first.
OTHERS = 4


def show_plan(plan: Plan) -> None:
    """Print what a run is expected to take where it is to go, how sure that is, and where else it could go."""
    expected, hardware = plan.chosen.expected, plan.chosen.hardware
    words.print(
        f"About [bold]{show_seconds(expected.seconds)}[/] on [bold]{hardware.name}[/] ({escape(hardware.title)}), "
        f"likely between {show_seconds(expected.low)} and {show_seconds(expected.high)}{_money(plan)}"
    )
    parts = ", ".join(f"{name} {show_seconds(seconds)}" for name, seconds in expected.stages.items())
    words.print(f"  [dim]{parts}; up to {expected.memory:.1f} GB of memory[/]")
    if plan.chosen.refusal:
        words.print(f"  [yellow]Warning:[/] it {plan.chosen.refusal} GB.")
    others = sorted(plan.others, key=lambda entry: entry.expected.dollars or 0.0)[:OTHERS]
    if others:
        words.print(f"  [dim]elsewhere: {'; '.join(map(_other, others))}[/]")


def show_runs(rows: Sequence[dict[str, Any]]) -> None:
    """Print one line for each run."""
    table = Table("run", "what", "where", "stands", box=None, pad_edge=False, header_style="dim")
    for row in rows:
        launch, standing = row["launch"], row["standing"]
        attempt = launch["attempts"][-1]
        said = f" [dim]{escape(standing['message'])}[/]" if standing["message"] else ""
        table.add_row(
            launch["id"], escape(launch["name"]), f"{attempt['launcher']}:{attempt['flavor']}", standing["stage"] + said
        )
    results.print(table if rows else "No run was sent anywhere yet.")


def show_standing(launch: Launch, standing: Standing) -> None:
    """Print where a run is and how it stands there."""
    attempt = launch.attempt
    url = f"  [link={standing.url}]{standing.url}[/]" if standing.url else ""
    said = f": {escape(standing.message)}" if standing.message else ""
    results.print(f"[bold]{launch.id}[/] on {attempt.launcher}:{attempt.flavor}  {standing.stage}{said}{url}")


def show_outcome(launch: Launch, outcome: Outcome, *, with_results: bool) -> None:
    """Print how long a run took against its estimate, and what came of it where that is not shown otherwise."""
    if with_results:
        results.print(f"verdict: {outcome.verdict or 'none'}")
        for entry in outcome.published:
            results.print(f"Published: [link={entry['url']}]{entry['url']}[/] at {entry['revision'][:12]}")
    expected = sum(launch.attempt.expected.stages.get(name, 0.0) for name in outcome.stages)
    took = sum(outcome.stages.values())
    if expected and took:
        words.print(
            f"[dim]The stages took {show_seconds(took)}; {show_seconds(expected)} were expected "
            f"({took / expected:.1f} times as long).[/]"
        )


def as_line(line: Event | str) -> str:
    """Return a log line as a person reads it."""
    if isinstance(line, str):
        return line
    count = f" {line.done:,}" + (f" of {line.total:,}" if line.total else "") if line.kind == "progress" else ""
    return f"[{line.stage}] {line.message or line.kind}{count} {line.unit}".rstrip()


def show_dollars(value: float) -> str:
    """Return a sum of money as people say it."""
    return f"${value:.2f}" if value >= 0.01 else "under $0.01"


def _money(plan: Plan) -> str:
    expected = plan.chosen.expected
    if expected.dollars is None:
        return "."
    limit = show_seconds(plan.order.seconds or 0)
    about, most = show_dollars(expected.dollars), show_dollars(plan.worst)
    return f": about [bold]{about}[/], at most {most} (it is ended after {limit})."


def _other(offer: Offer) -> str:
    cost = f" for {show_dollars(offer.expected.dollars)}" if offer.expected.dollars is not None else ""
    return f"{offer.hardware.name} {show_seconds(offer.expected.seconds)}{cost}"
