"""The commands of the embedded Hub: hfembed hub serve, hfembed hub user."""

from __future__ import annotations

import contextlib
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hfembed.cli_base import Format, FormatOption, command_errors

app = typer.Typer(help="A Hub of your own: on this machine, in your network, in your tests.", no_args_is_help=True)

DEFAULT_ROOT = Path("~/.local/share/hfembed/hub")


class Role(StrEnum):
    """What a token may do."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


RootOption = Annotated[Path, typer.Option(metavar="DIR", help="Where repositories, files and users are kept.")]


@app.command()
def serve(
    root: RootOption = DEFAULT_ROOT,
    host: Annotated[str, typer.Option(help="The address to listen on; loopback unless told otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 8700,
    spaces: Annotated[
        bool, typer.Option(help="Run gradio Spaces as processes of this machine, in this Python environment.")
    ] = False,
    fault: Annotated[str, typer.Option(help="Fail on purpose, for tests: 'rate=0.2,status=503'.")] = "",
) -> None:
    """Serve a folder as a Hub until Ctrl-C."""
    with command_errors(Format.TEXT):
        from hfembed import terminal
        from hfembed.localhub import LocalHub

        folder = root.expanduser()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends it as Ctrl-C does
        with LocalHub(folder, port, host, faults=fault, run_spaces=spaces) as hub:
            terminal.words.print(f"[bold]Hub[/] at [link={hub.url}]{hub.url}[/]  [dim]kept in {folder}[/]")
            terminal.words.print(f"Use it:   export HF_ENDPOINT={hub.url}")
            terminal.words.print(f"A user:   hfembed hub user NAME --root {folder}")
            terminal.words.print("[dim]Ctrl-C ends it; everything is kept.[/]")
            with contextlib.suppress(KeyboardInterrupt):
                hub.wait()


@app.command()
def user(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    org: Annotated[list[str] | None, typer.Option(help="An organisation to belong to; can be repeated.")] = None,
    token: Annotated[str | None, typer.Option(help="The token to set; a random one when not given.")] = None,
    role: Annotated[Role, typer.Option(help="What the token may do.")] = Role.WRITE,
    root: RootOption = DEFAULT_ROOT,
    output: FormatOption = Format.TEXT,
) -> None:
    """Create a user, or give one a further token, and print the token once."""
    with command_errors(output):
        from hfembed import terminal
        from hfembed.localhub import add_user

        given = add_user(root.expanduser(), name, org or [], role, token)
        if output is Format.JSON:
            terminal.print_json({"user": name, "organisations": org or [], "role": role, "token": given})
        else:
            typer.echo(given)
