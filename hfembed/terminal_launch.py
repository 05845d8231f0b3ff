"""What a person sees of runs that are sent elsewhere: what they will take, how they stand, how they ended."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from hfembed.events import Event
from hfembed.launch.contract import Offer
from hfembed.launch.record import Launch, Outcome, Standing
from hfembed.launch.send import Plan
from hfembed.launch.spent import Surveyed, spent
from hfembed.terminal import results, show_seconds, words

# What the Hub's words for how a run stands mean to people, and how they look; any other is shown as it is.
STATES = {
    "COMPLETED": ("done", "green"),
    "RUNNING": ("running", "bold cyan"),
    "SCHEDULING": ("waiting", "yellow"),
    "ERROR": ("failed", "bold red"),
    "CANCELED": ("cancelled", "red"),
    "DELETED": ("deleted", "red"),
    "ELSEWHERE": ("elsewhere", "yellow"),
}
CENT = 0.01
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


def show_runs(rows: Sequence[Surveyed]) -> None:
    """Print one line for each run, and below it what there is to say of those that need someone."""
    table = Table("run", "what", "where", "stands", "age", "cost", box=None, pad_edge=False, header_style="dim")
    for row in rows:
        attempt = row.launch.attempt
        table.add_row(
            row.launch.id,
            escape(row.launch.name),
            place_of(attempt.launcher, attempt.flavor),
            _state(row.standing),
            show_age(row.spent.age),
            show_dollars(row.spent.dollars) if row.spent.dollars is not None else "[dim]-[/]",
        )
    if not rows:
        results.print("No run was sent anywhere yet.")
        return
    for column in table.columns:
        column.no_wrap = column.header != "what"
    results.print(table, soft_wrap=False)
    failed = [row for row in rows if row.standing.message and row.standing.stage != "COMPLETED"]
    for row in failed:
        words.print(f"[dim]{row.launch.id}: {escape(row.standing.message)}[/]")
    if failed:
        words.print(f"[dim]To go on with one: hfembed run --resume {failed[0].launch.id}[/]")


def show_standing(launch: Launch, standing: Standing, outcome: Outcome | None) -> None:
    """Print where a run is, how it stands there, since when, and what it has cost."""
    attempt, found = launch.attempt, spent(launch.attempt, standing, outcome)
    cost = (
        f", {show_dollars(found.dollars)}{'' if standing.is_over else ' so far'}" if found.dollars is not None else ""
    )
    said = f": {escape(standing.message)}" if standing.message else ""
    results.print(f"[bold]{launch.id}[/]  {escape(launch.name)}  {_state(standing)}{said}")
    results.print(
        f"[dim]on {place_of(attempt.launcher, attempt.flavor)}, sent {show_age(found.age)} ago{cost}"
        + (f", attempt {attempt.number}" if attempt.number > 1 else "")
        + "[/]"
    )
    if standing.url:
        results.print(f"[link={standing.url}]{standing.url}[/]")


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


def place_of(launcher: str, flavor: str) -> str:
    """Return a place as --on takes it."""
    return launcher if launcher == flavor else f"{launcher}:{flavor}"


def show_age(seconds: float) -> str:
    """Return how long ago something was, in one unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def as_line(line: Event | str) -> str:
    """Return a log line as a person reads it."""
    if isinstance(line, str):
        return line
    count = f" {line.done:,}" + (f" of {line.total:,}" if line.total else "") if line.kind == "progress" else ""
    return f"[{line.stage}] {line.message or line.kind}{count} {line.unit}".rstrip()


def show_dollars(value: float) -> str:
    """Return a sum of money as people say it."""
    return f"${value:.2f}" if value >= CENT else "under $0.01"


def show_cost(about: float, most: float) -> str:
    """Return what something is thought to cost, and the most that it can."""
    likely, limit = show_dollars(about), show_dollars(most)
    if likely == limit:
        return f"[bold]{limit}[/]"
    return f"{'' if about < CENT else 'about '}[bold]{likely}[/], at most {limit}"


def _state(standing: Standing) -> str:
    word, style = STATES.get(standing.stage, (standing.stage.lower(), "yellow"))
    return f"[{style}]{word}[/]"


def _money(plan: Plan) -> str:
    expected = plan.chosen.expected
    if expected.dollars is None:
        return "."
    limit = show_seconds(plan.order.seconds or 0)
    return f": {show_cost(expected.dollars, plan.worst)} (it is ended after {limit})."


def _other(offer: Offer) -> str:
    cost = f" for {show_dollars(offer.expected.dollars)}" if offer.expected.dollars is not None else ""
    return f"{offer.hardware.name} {show_seconds(offer.expected.seconds)}{cost}"
