"""The commands that train a query generator: hfembed generator sft, grpo, settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfembed.cli_base import Format, FormatOption, command_errors

if TYPE_CHECKING:
    from hfembed.events import Reporter

app = typer.Typer(
    help="Train a small language model to write your queries, for generate.method=model.", no_args_is_help=True
)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run whose queries are done (hfembed generate).")]
OutOption = Annotated[
    Path, typer.Option(metavar="DIR", help="Where the generator goes: a folder that is not there yet.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting; can be repeated. generator settings lists them."
    ),
]


@app.command()
def sft(
    run: RunArgument,
    out: OutOption,
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The language model to start from: a folder or a Hub id; a small one."),
    ] = None,
    settings: SetOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Teach a small language model to write the queries that a run kept, each from its passage."""
    with command_errors(output):
        from hfembed.generator.settings import DEFAULT_MODEL, make_sft

        wanted = make_sft(settings or [])

        def teach(report: Reporter) -> dict[str, Any]:
            from hfembed.generator import sft as train
            from hfembed.run import Run

            return train(Run.open(run), base or DEFAULT_MODEL, out, wanted, report)

        _train(teach, output)


@app.command()
def grpo(
    run: RunArgument,
    generator: Annotated[str, typer.Option(metavar="DIR", help="What sft made: a folder or a Hub id.")],
    out: OutOption,
    settings: SetOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Reward a generator for queries that bring their passage back, under a retriever that stays as it is."""
    with command_errors(output):
        from hfembed.generator.settings import make_grpo

        wanted = make_grpo(settings or [])

        def reward(report: Reporter) -> dict[str, Any]:
            from hfembed.generator import grpo as train
            from hfembed.run import Run

            return train(Run.open(run), generator, out, wanted, report)

        _train(reward, output)


@app.command("settings")
def list_settings(output: FormatOption = Format.TEXT) -> None:
    """List what --set can change of sft and grpo, with its default and what it means."""
    with command_errors(output):
        from hfembed import terminal, terminal_generator
        from hfembed.generator.settings import Grpo, Sft

        known = {"sft": Sft(), "grpo": Grpo()}
        if output is Format.JSON:
            terminal.print_json({name: settings.model_dump(mode="json") for name, settings in known.items()})
            return
        for name, settings in known.items():
            terminal_generator.show_settings(name, settings)


def _train(work: Callable[[Reporter], dict[str, Any]], output: Format) -> None:
    from hfembed import terminal, terminal_generator
    from hfembed.events import Events, Reporter

    with terminal.screen() as listener:
        done = work(Reporter("generator", Events(listeners=[listener])))
    if output is Format.JSON:
        terminal.print_json(done)
    else:
        terminal_generator.show_trained(done)
