"""The options of `run` that say where it goes, for how much, and for how long."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hfembed.launch.send import Conditions

PANEL = "Elsewhere"
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

OnOption = Annotated[
    str | None,
    typer.Option("--on", metavar="PLACE", help="local, jobs, space or autotrain; jobs:FLAVOR.", rich_help_panel=PANEL),
]
ResumeOption = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN", help="Go on with a run that was sent elsewhere.", rich_help_panel=PANEL),
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Send it and return; hfembed logs -f shows it.", rich_help_panel=PANEL)
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask before money is spent.", rich_help_panel=PANEL)]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Send it though the same is being worked on.", rich_help_panel=PANEL)
]
KeepOption = Annotated[
    bool, typer.Option("--keep", help="Keep a run of this machine on the Hub too.", rich_help_panel=PANEL)
]
TimeoutOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="End it after 90m, 2h, ...; else by the estimate.", rich_help_panel=PANEL),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Whose account pays: you, or an organisation.", rich_help_panel=PANEL),
]
TokenOption = Annotated[
    str | None,
    typer.Option(metavar="VARIABLE", help="Environment variable with the token the run gets.", rich_help_panel=PANEL),
]
LaunchedArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's folder, or its id.")]


class Wishes:
    """What the options of `run` ask for beyond the recipe."""

    def __init__(
        self,
        *,
        detach: bool,
        yes: bool,
        again: bool,
        timeout: str | None,
        namespace: str | None,
        token_from: str | None,
        max_cost: float | None,
        keep: bool = False,
    ) -> None:
        """Read them; a timeout that is none is refused when it is used."""
        self.detach, self.yes = detach, yes
        self._again, self._timeout, self._namespace = again, timeout, namespace
        self._token_from, self._max_cost = token_from, max_cost
        self._keep = keep

    def conditions(self) -> Conditions:
        """Return what the planning of a run has to know."""
        from hfembed.launch.send import Conditions

        return Conditions(
            owner=self._namespace,
            seconds=read_seconds(self._timeout),
            max_cost=self._max_cost,
            token_from=self._token_from,
            twice=self._again,
            keep=self._keep,
        )


def ask(*, paid: bool, yes: bool) -> None:
    """Ask before money is spent; where nobody can answer, --yes is the answer or there is none."""
    from hfembed.errors import LaunchError

    if yes or not paid:
        return
    if not sys.stdin.isatty():
        raise LaunchError("This costs money, and nobody is here to say yes.", "Add --yes once the estimate is fine.")
    if not typer.confirm("Send it?", err=True):
        raise typer.Exit(1)


def read_seconds(text: str | None, option: str = "--timeout") -> int | None:
    """Return the seconds of a time such as 90m; nothing where none is given."""
    from hfembed.errors import InputError

    if text is None:
        return None
    match = DURATION.fullmatch(text.strip())
    if match is None or float(match[1]) * UNITS[match[2]] < 1:
        raise InputError(f"{option} is '{text}', but must be a time such as 90m, 2h or 3600.", f"{option} 2h")
    return round(float(match[1]) * UNITS[match[2]])
