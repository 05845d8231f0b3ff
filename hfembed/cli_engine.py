"""The options that say who works: this process, or Ray."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer

from hfembed.engine import EngineName, using
from hfembed.errors import InputError

PANEL = "Engine"

EngineOption = Annotated[
    EngineName,
    typer.Option("--engine", help="ray: encode, write queries and mine on all cores.", rich_help_panel=PANEL),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDRESS",
        help="A cluster that this machine is of: auto, or HOST:PORT.",
        rich_help_panel=PANEL,
    ),
]


def working_with(engine: EngineName, address: str | None, on: str | None = None) -> AbstractContextManager[Any]:
    """Work with an engine for a while. on: the machine that a run is sent to."""
    if address is not None and engine is not EngineName.RAY:
        raise InputError(f"--ray-address is '{address}', but the engine is {engine}.", "Add --engine ray.")
    if on is not None and engine is EngineName.RAY:
        raise InputError(
            f"--engine ray is for a run that this process does; with --on {on} another one does it.",
            "Leave out one of the two.",
        )
    return using(engine, address)
