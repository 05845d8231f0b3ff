"""The commands of runs that are sent elsewhere: run --on, run --resume, runs, logs, cancel, and their status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfembed.cli_base import INTERRUPTED, Format, FormatOption, command_errors
from hfembed.cli_elsewhere import LaunchedArgument, NamespaceOption, Wishes, ask

if TYPE_CHECKING:
    from hfembed.events import Listener, Reporter
    from hfembed.launch.record import Launch
    from hfembed.launch.send import Plan
    from hfembed.recipe import Recipe
    from hfembed.run import Run


def start(
    recipe: Recipe, run: Run, on: str, until: str | None, rerun: str | None, wishes: Wishes, output: Format
) -> None:
    """Send a recipe somewhere, and follow it unless told not to."""
    from hfembed import terminal
    from hfembed.launch.contract import Place
    from hfembed.launch.send import plan

    place = Place.parse(on)
    with terminal.screen() as listener:
        found = plan(recipe, run, place, wishes.conditions(), _reporter(listener), until=until, rerun=rerun)
    _go(found, wishes, output)


def refuse_changes(*said: Any) -> None:
    """Refuse to go on with a run under another recipe: what is done would not fit."""
    from hfembed.errors import InputError

    flat = [value for part in said for value in (part if isinstance(part, tuple) else (part,))]
    if any(value is not None for value in flat):
        raise InputError(
            "A run goes on under the recipe that it was sent with; --resume takes no other.",
            "hfembed run --resume RUN --on PLACE, or a new run without --resume",
        )


def resume(text: str, on: str | None, folder: Path | None, wishes: Wishes, output: Format) -> None:
    """Go on with a run that ended before it was done, where it was or elsewhere."""
    from hfembed import terminal
    from hfembed.errors import LaunchError
    from hfembed.launch.contract import Place
    from hfembed.launch.find import find_launch
    from hfembed.launch.send import launcher_of, plan, plan_again
    from hfembed.run import Run

    with terminal.screen() as listener:
        report = _reporter(listener)
        launch, here = find_launch(text, report)
        run = Run(folder) if folder else here or Run(Path("runs") / launch.id)
        last = launch.attempt
        place = Place.parse(on) if on else Place(last.launcher, None if last.launcher == "local" else last.flavor)
        standing = launcher_of(last.launcher, report).standing(launch, here)
        if not standing.is_over:
            raise LaunchError(
                f"{launch.id} is being worked on: {standing.stage}.", f"hfembed logs -f {launch.id} shows it."
            )
        if launch.repo is None and not place.launcher.works_here:
            found = plan(run.recipe(), run, place, wishes.conditions(), report, until=launch.until, rerun=launch.rerun)
        else:
            found = plan_again(launch, run, place, wishes.conditions(), report)
    _go(found, wishes, output)


def _go(found: Plan, wishes: Wishes, output: Format) -> None:
    from hfembed import terminal, terminal_launch
    from hfembed.launch.send import send

    terminal_launch.show_plan(found)
    ask(paid=found.chosen.expected.dollars is not None, yes=wishes.yes)
    launch = send(found)
    terminal.words.print(f"[bold]{launch.id}[/] is under way.  [dim]hfembed cancel {launch.id} ends it[/]")
    if wishes.detach:
        terminal.words.print(f"[dim]hfembed logs -f {_handle(launch, found.order.run)} shows it[/]")
        _show(launch, found.order.run, None, output)
    else:
        follow(launch, found.order.run, output)


def follow(launch: Launch, run: Run | None, output: Format) -> None:
    """Show a run until it is over; Ctrl-C leaves it alone."""
    from hfembed import terminal
    from hfembed.launch.send import launcher_of
    from hfembed.launch.watch import watch

    try:
        with terminal.screen() as listener:
            outcome = watch(launcher_of(launch.attempt.launcher, _reporter(listener)), launch, run, listener)
    except KeyboardInterrupt:
        terminal.words.print(f"\nIt goes on without you. To see it again: hfembed logs -f {_handle(launch, run)}")
        raise typer.Exit(INTERRUPTED) from None
    _show(launch, run, outcome, output)


def runs(
    namespace: NamespaceOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """List the runs that were sent elsewhere and are kept on the Hub, newest first."""
    with command_errors(output):
        from hfembed import terminal, terminal_launch
        from hfembed.hub.runs import who_am_i
        from hfembed.launch.home import find_homes
        from hfembed.launch.spent import survey

        account = who_am_i()
        with terminal.screen() as listener:
            report = _reporter(listener)
            found = find_homes([namespace] if namespace else [account.name, *account.organisations], report)
            rows = survey(found, report)
        if output is Format.JSON:
            terminal.print_json({"runs": [row.to_json() for row in rows]})
        else:
            terminal_launch.show_runs(rows)


def logs(
    run: LaunchedArgument,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the run is over.")] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show the log of a run that was sent elsewhere."""
    with command_errors(output):
        from hfembed import terminal, terminal_launch
        from hfembed.launch.find import find_launch
        from hfembed.launch.send import launcher_of
        from hfembed.launch.watch import read_log

        with terminal.screen() as listener:
            report = _reporter(listener)
            launch, folder = find_launch(run, report)
            if not following:
                launcher = launcher_of(launch.attempt.launcher, report)
                lines = list(read_log(launcher, launch, folder, wait=False))
        if following:
            follow(launch, folder, output)
        elif output is Format.JSON:
            terminal.print_json({"id": launch.id, "lines": [terminal_launch.as_line(line) for line in lines]})
        else:
            for line in lines:
                typer.echo(terminal_launch.as_line(line))


def cancel(
    run: LaunchedArgument,
    delete: Annotated[bool, typer.Option("--delete", help="Remove its Space too; what it has done stays.")] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """End a run that was sent elsewhere; what it has done is kept, and can be gone on with."""
    with command_errors(output):
        from hfembed import terminal
        from hfembed.launch.find import find_launch
        from hfembed.launch.send import launcher_of

        with terminal.screen() as listener:
            report = _reporter(listener)
            launch, folder = find_launch(run, report)
            launcher = launcher_of(launch.attempt.launcher, report)
            was_over = launcher.standing(launch, folder).is_over
            if not was_over:
                launcher.cancel(launch, folder)
            deleted = {"deleted": launcher.delete(launch)} if delete else {}
        if output is Format.JSON:
            terminal.print_json({"id": launch.id, "cancelled": not was_over, **deleted})
        else:
            said = "was over already" if was_over else "is cancelled"
            said += {True: ", its Space deleted", False: "; it left nothing to delete", None: ""}[
                deleted.get("deleted")
            ]
            terminal.words.print(f"{launch.id} {said}. To go on: hfembed run --resume {_handle(launch, folder)}")


def work(
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Where it is worked on.")],
    repo: Annotated[str | None, typer.Option(metavar="NAME", help="The repo that keeps it.")] = None,
) -> None:
    """Do a run that was sent here; its log is for whoever follows."""
    from hfembed.launch.worker import do

    raise typer.Exit(do(repo, folder))


def is_sent(folder: str) -> bool:
    """Tell whether the run of a folder was sent elsewhere."""
    from hfembed.run import LAYOUT, Run

    return Run(Path(folder)).path(LAYOUT.launch).is_file()


def show_status(text: str, output: Format) -> None:
    """Show how a run that was sent elsewhere stands."""
    from hfembed import terminal
    from hfembed.errors import LaunchError
    from hfembed.launch.find import find_launch
    from hfembed.launch.send import launcher_of
    from hfembed.launch.watch import conclude

    with terminal.screen() as listener:
        report = _reporter(listener)
        launch, run = find_launch(text, report)
        launcher = launcher_of(launch.attempt.launcher, report)
        standing = launcher.standing(launch, run)
        try:
            outcome = conclude(launcher, launch, run) if standing.is_over else None
        except LaunchError:
            if output is Format.TEXT:  # what is done is worth seeing all the same
                _show(launch, run, None, output, standing)
            raise
    _show(launch, run, outcome, output, standing)


def _show(launch: Launch, run: Run | None, outcome: Any, output: Format, standing: Any = None) -> None:
    """Show a launch, and what its run has made as far as that is here."""
    from hfembed import terminal, terminal_launch
    from hfembed.run import LAYOUT
    from hfembed.summary import summarize

    is_here = run is not None and run.path(LAYOUT.recipe).is_file()
    summary = summarize(run) if is_here and run else None
    if output is Format.JSON:
        told = {
            "launch": launch.model_dump(mode="json"),
            "standing": standing.model_dump(mode="json") if standing else None,
            "outcome": outcome.model_dump(mode="json") if outcome else None,
        }
        terminal.print_json({**(summary or {}), **told})
        return
    if standing:
        terminal_launch.show_standing(launch, standing, outcome)
    if summary and summary["stages"]:
        terminal.show_run(summary)
    if outcome:
        terminal_launch.show_outcome(launch, outcome, with_results=summary is None)


def _handle(launch: Launch, run: Run | None) -> str:
    """Return what names a run in the next command: its folder where there is one, since its results end up there."""
    return str(run.folder) if run is not None else launch.id


def _reporter(listener: Listener) -> Reporter:
    from hfembed.events import Events, Reporter

    return Reporter("launch", Events(listeners=[listener]))
