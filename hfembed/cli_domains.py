"""The command that looks for a domain with something to gain: domains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from hfembed.cli_base import Format, FormatOption, command_errors

UNITS = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}


def domains(
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Results in mteb's layout; its own cache if not given.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A model of the size to be trained: a folder or a Hub id.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="N", help="Its parameters instead, as 33M or 1.5B.")] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help='A benchmark of mteb that is a domain, as "MTEB(Law, v1)"; can be repeated.'),
    ] = None,
    by_domain: Annotated[
        bool, typer.Option("--by-domain", help="Group tasks by what they say of their domain instead.")
    ] = False,
    chart: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw a chart, too.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Rank domains by what a model of a given size could gain, from mteb's results; needs no network."""
    with command_errors(output):
        from hfembed import terminal, terminal_domains
        from hfembed.domains import By, rank_domains
        from hfembed.domains.chart import draw_domains
        from hfembed.errors import InputError
        from hfembed.events import Events, Reporter
        from hfembed.stage import require

        if benchmark and by_domain:
            raise InputError("Tasks are grouped by benchmarks or by domain.", "Leave out --by-domain or --benchmark.")
        if results is not None and not results.is_dir():
            raise InputError(f"There is no folder '{results}'.", "--results DIR names a folder of mteb's results.")
        require("train", "mteb")
        parameters = parse_size(size) if size else _size_of(base)
        with terminal.screen() as listener:
            report = Reporter("domains", Events(listeners=[listener]))
            found = rank_domains(results, parameters, benchmark or (), By.DOMAINS if by_domain else None, report)
        drawn = draw_domains(found, chart) if chart else None
        if output is Format.JSON:
            terminal.print_json({**found.to_json(), "chart": str(drawn) if drawn else None})
            return
        terminal_domains.show_domains(found)
        if drawn:
            terminal.words.print(f"[dim]chart: {drawn}[/]")


def parse_size(text: str) -> int:
    """Return a number of parameters from what people write: 33M, 1.5B, 22,700,000."""
    from hfembed.errors import InputError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmb]?)", text.replace(",", "").replace("_", "").strip().lower())
    parameters = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if parameters < 1:
        raise InputError(f"--size is '{text}', but must be a number of parameters.", "--size 33M, --size 1.5B")
    return parameters


def _size_of(base: str | None) -> int:
    """Return the parameters of a model: as mteb has them, else as the heads of its weight files say."""
    from hfembed.domains.results import registered_sizes
    from hfembed.errors import ModelError
    from hfembed.launch.workload import USUAL_MODEL, model_weights
    from hfembed.recipe import DEFAULT_BASE

    name = base or DEFAULT_BASE
    known = registered_sizes().get(name)
    if known is None:
        weights = model_weights(name)
        if weights is USUAL_MODEL:
            raise ModelError(f"How large '{name}' is cannot be told: no weights of it were found.", "--size 33M")
        known = weights.parameters
    return known
