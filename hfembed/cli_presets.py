"""The command that tries several presets on one corpus: compare-presets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfembed.cli_base import INTERRUPTED, Format, FormatOption, command_errors, from_anywhere, run_name
from hfembed.cli_elsewhere import NamespaceOption, TimeoutOption, TokenOption, Wishes, YesOption, ask

if TYPE_CHECKING:
    from hfembed.launch.presets import Comparison
    from hfembed.recipe import Recipe


def compare_presets(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus as for run.")],
    presets: Annotated[str, typer.Option(metavar="A,B", help="Which ones; see hfembed presets.")],
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model to start from: a folder or a Hub id.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="Where their runs are kept; repeat it to continue."),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", metavar="PLACE", help="local: one after the other; jobs[:FLAVOR]: all at once.")
    ] = "local",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting of all; can be repeated."),
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="SUM", help="The most that all of them together may cost.")
    ] = None,
    yes: YesOption = False,
    timeout: TimeoutOption = None,
    namespace: NamespaceOption = None,
    token_from: TokenOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Run several presets on one corpus, what they share once, and put their results side by side."""
    wishes = Wishes(
        detach=False, yes=yes, again=False, timeout=timeout, namespace=namespace, token_from=token_from,
        max_cost=max_cost,
    )  # fmt: skip
    with command_errors(output):
        from hfembed.launch.contract import Place
        from hfembed.launch.presets import Comparison
        from hfembed.launch.steps import arrange

        recipes = _recipes(corpus, presets, base, settings or [])
        target = folder or Path("runs") / run_name(corpus, "presets")
        _compare(Comparison(target, arrange(recipes), Place.parse(on), wishes.conditions()), yes=yes, output=output)


def _compare(comparison: Comparison, *, yes: bool, output: Format) -> None:
    from hfembed import terminal, terminal_presets
    from hfembed.events import Events, Reporter
    from hfembed.launch.chart import draw_chart
    from hfembed.launch.presets import carry_out, gather, plan_all

    with terminal.screen() as listener:
        planned = plan_all(comparison, Reporter("launch", Events(listeners=[listener])))
    if planned:
        terminal_presets.show_plans(comparison.steps, planned)
        ask(paid=any(plan.chosen.expected.dollars is not None for plan in planned.values()), yes=yes)
    try:
        with terminal_presets.board() as listeners:
            failed = carry_out(comparison, planned, listeners)
    except KeyboardInterrupt:
        terminal.words.print("\nWhat was sent goes on without you. The same command follows it, and sends the rest.")
        raise typer.Exit(INTERRUPTED) from None
    found = gather(comparison, failed)
    chart = draw_chart(found["presets"], comparison.folder)
    if output is Format.JSON:
        terminal.print_json({**found, "chart": str(chart) if chart else None})
    else:
        terminal_presets.show_comparison(found)
        if chart:
            terminal.words.print(f"[dim]chart: {chart}[/]")
    if failed:
        raise typer.Exit(next(getattr(error, "exit_code", 1) for error in failed.values()))


def _recipes(corpus: str, presets: str, base: str | None, settings: list[str]) -> dict[str, Recipe]:
    from hfembed.errors import InputError, choices
    from hfembed.recipe import load_presets, make_recipe

    names = list(dict.fromkeys(name.strip() for name in presets.split(",") if name.strip()))
    if len(names) < 2:
        raise InputError(
            f"--presets is '{presets}', but a comparison takes two or more of {choices(load_presets())}.",
            "--presets instant,thorough",
        )
    options: dict[str, Any] = {"corpus": corpus, "base": base}
    return {name: from_anywhere(make_recipe(name, settings=settings, options=options)) for name in names}
