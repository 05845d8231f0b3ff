"""The commands of the front end: hfembed space, hfembed space deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfembed.cli_base import Format, FormatOption, command_errors

app = typer.Typer(
    help="The front end in a browser: on this machine, for you alone; or as a Space.", invoke_without_command=True
)


@app.callback()
def serve(
    context: typer.Context,
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="Where your runs are kept.")] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", metavar="DIR", help="Show this run too, done on the command line; can be repeated."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port; any free one when not given.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in your browser.")] = True,
) -> None:
    """Serve the front end on this machine, for you alone, until Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    with command_errors(Format.TEXT):
        from hfembed import terminal
        from hfembed.front import default_root, find_seat, serve_front

        seat = find_seat((root or default_root()).expanduser().resolve(), port)
        terminal.words.print(
            f"[bold]hfembed[/] at [link={seat.url}]{seat.url}[/]  [dim]runs are kept in {seat.root}[/]"
        )
        terminal.words.print("[dim]Only this machine can reach it. Ctrl-C ends it; runs that are under way go on.[/]")
        serve_front(seat, opens_browser=browser, runs=run or [])


@app.command()
def deploy(
    name: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The Space: made, or brought up to date.")],
    hardware: Annotated[
        str | None,
        typer.Option(
            metavar="FLAVOR", help="zero-a10g, cpu-basic, l4x1, ...; a new one takes zero-a10g, which is free."
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Let nobody see it but you.")] = False,
    sleep: Annotated[
        str | None, typer.Option(metavar="TIME", help="Let paid hardware sleep after 30m, 2h, ... without a visitor.")
    ] = None,
    pull_request: Annotated[
        bool, typer.Option("--pull-request", "--pr", help="Open a pull request instead of changing main.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before money is spent.")] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Make a Space that serves hfembed, or bring one up to date with the hfembed that is installed here."""
    with command_errors(output):
        from hfembed import terminal
        from hfembed.cli_elsewhere import ask, read_seconds
        from hfembed.deploy import Wanted, deploy, find_flavor
        from hfembed.events import Events, Reporter

        seconds = read_seconds(sleep, "--sleep")
        with terminal.screen() as listener:
            report = Reporter("deploy", Events(listeners=[listener]))
            flavor = find_flavor(hardware, report)
        if flavor is not None and flavor.hourly:
            until = f"sleeps after {sleep} without a visitor" if seconds else "never sleeps, unless --sleep says when"
            terminal.words.print(f"{flavor.title} costs ${flavor.hourly:.2f} for every hour that it is up; it {until}.")
            ask(paid=True, yes=yes)
        with terminal.screen() as listener:
            report = Reporter("deploy", Events(listeners=[listener]))
            done = deploy(Wanted(name, hardware, private, seconds, pull_request), report)
        if output is Format.JSON:
            terminal.print_json(done.to_json())
        else:
            terminal.show_deployed(done)
