"""What is set up on the Hub to answer for a model: hfembed deploy endpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from hfembed.cli_base import Format, FormatOption, command_errors

app = typer.Typer(help="Set up on the Hub what answers for a published model.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    pass


@app.command()
def endpoint(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the Hub, or a run that was pushed.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What the endpoint is called.")] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose account pays; the model's owner when not given.")
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option(
            metavar="MACHINE", help="cpu, gpu, nvidia-l4, aws/us-east-1/intel-spr/x4, ...; the cheapest that fits."
        ),
    ] = None,
    access: Annotated[str, typer.Option(help="Who may ask it: protected, public or private.")] = "protected",
    sleep: Annotated[
        str, typer.Option(metavar="TIME", help="Let it sleep, and cost nothing, after 15m, 2h, ... unasked; or never.")
    ] = "15m",
    replicas: Annotated[int, typer.Option(min=1, help="How many machines there may be at a time.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be made, and make nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before money is spent.")] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Serve a published model to OpenAI's clients on an Inference Endpoint, with text-embeddings-inference."""
    with command_errors(output):
        from hfembed import terminal, terminal_deploy
        from hfembed.cli_elsewhere import ask, read_seconds
        from hfembed.deploy.endpoint import Access, EndpointWishes, deploy_endpoint, plan_endpoint
        from hfembed.errors import InputError, choices
        from hfembed.events import Events, Reporter

        if access not in list(Access):
            raise InputError(f"--access is '{access}'; allowed: {choices(Access)}.", "--access protected")
        seconds = None if sleep == "never" else read_seconds(sleep, "--sleep")
        wishes = EndpointWishes(name, namespace, hardware, Access(access), seconds, replicas)
        with terminal.screen() as listener:
            plan = plan_endpoint(model, wishes, Reporter("deploy", Events(listeners=[listener])))
        if dry_run:
            if output is Format.JSON:
                terminal.print_json(plan.to_json())
            else:
                terminal_deploy.show_plan(plan, sleep)
            return
        terminal_deploy.show_plan(plan, sleep)
        ask(paid=bool(plan.hourly), yes=yes)
        with terminal.screen() as listener:
            done = deploy_endpoint(plan, Reporter("deploy", Events(listeners=[listener])))
        if output is Format.JSON:
            terminal.print_json(done.to_json())
        else:
            terminal_deploy.show_endpoint(done)
