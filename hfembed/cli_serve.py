"""The endpoint: hfembed serve; and what evaluate says of one that is served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfembed.cli_base import Format, FormatOption, command_errors
from hfembed.serve.choices import Backend, Limits, Precision, Wishes

if TYPE_CHECKING:
    from hfembed.serve.model import Served
    from hfembed.serve.server import Endpoint

EndpointOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Score what is served there on the run's test, and compare with its model."),
]
ServedOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The model's name at the endpoint, where that has several.")
]
KeyOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The environment variable that holds the endpoint's key.")
]

DEFAULT = Limits()
# The exit code where an endpoint does not give what was tested.
DIFFERENT = 1
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, a Hub id or a recipe.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 8800,
    host: Annotated[str, typer.Option(help="The address to listen on; loopback unless told otherwise.")] = "127.0.0.1",
    backend: Annotated[
        Backend | None, typer.Option(help="What computes; onnx where the model has such a file.")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="The arithmetic: bf16 with torch, int8 with onnx.")
    ] = Precision.FP32,
    api_key: Annotated[
        bool, typer.Option("--api-key", help="Demand the key that stands in HFEMBED_API_KEY; so does setting it.")
    ] = False,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the key.")
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file of keys, one a line; clients need one of them.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What clients call the model.")] = None,
    dimensions: Annotated[
        str | None, typer.Option(metavar="A,B", help="Shorter vectors that the model was trained to give; a run knows.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all when not given.")] = None,
    batches: Annotated[
        int | None, typer.Option(min=1, help="Batches computed at a time with onnx; as many as threads when not given.")
    ] = None,
    most_texts: Annotated[int, typer.Option(min=1, help="Texts that one request may hold.")] = DEFAULT.texts,
    most_tokens: Annotated[int, typer.Option(min=1, help="Tokens that one request may hold.")] = DEFAULT.tokens,
    most_bytes: Annotated[int, typer.Option(min=1, help="Bytes that one request may hold.")] = DEFAULT.body,
    queue_texts: Annotated[
        int, typer.Option(min=1, help="Texts that may wait, before 429 is answered.")
    ] = DEFAULT.waiting_texts,
    queue_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens that may wait, before 429 is answered.")
    ] = DEFAULT.waiting_tokens,
    refuse_long: Annotated[
        bool, typer.Option("--refuse-long", help="Refuse texts longer than the model reads, instead of cutting them.")
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Serve a model to OpenAI's clients until Ctrl-C or SIGTERM; what was accepted by then is answered."""
    with command_errors(output):
        from hfembed.serve import read_keys
        from hfembed.serve import serve as serve_model

        keys = read_keys(api_key_env, api_key_file, demanded=api_key)
        wishes = Wishes(
            backend=backend,
            precision=precision,
            name=name,
            dimensions=_numbers(dimensions),
            threads=threads,
            batches=batches,
        )
        limits = Limits(most_texts, most_tokens, most_bytes, queue_texts, queue_tokens, not refuse_long)

        def announce(endpoint: Endpoint, served: Served) -> None:
            _announce(endpoint, served, bool(keys), host, output)

        serve_model(model, wishes, limits, keys, (host, port), announce)


def evaluate_endpoint(what: str, url: str, served: str | None, key_env: str | None, output: Format) -> None:
    """Say whether an endpoint ranks a run's test as the run's model does; where not, the exit code is 1."""
    with command_errors(output):
        from hfembed import terminal, terminal_serve
        from hfembed.events import Events, Reporter
        from hfembed.run import Run
        from hfembed.serve import read_keys
        from hfembed.serve.parity import compare_endpoint

        key = next(iter(read_keys(key_env, None)), None)
        with terminal.screen() as listener:
            report = Reporter("evaluate", Events(listeners=[listener]))
            found = compare_endpoint(Run.open(Path(what)), url, key, served, report)
        if output is Format.JSON:
            terminal.print_json(found.to_json())
        else:
            terminal_serve.show_parity(found)
        if not found.same:
            raise typer.Exit(DIFFERENT)


def _announce(endpoint: Endpoint, served: Served, has_keys: bool, host: str, output: Format) -> None:
    from hfembed import terminal, terminal_serve

    if output is Format.JSON:
        values = {"url": f"{endpoint.url}/v1", "model": served.name, "backend": str(served.backend)}
        terminal.print_json({**values, "dimensions": endpoint.service.dimensions, "key": has_keys})
        return
    terminal_serve.show_endpoint(endpoint.url, served, has_keys=has_keys or host in LOOPBACK)


def _numbers(text: str | None) -> tuple[int, ...]:
    from hfembed.errors import InputError

    try:
        return tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise InputError(f"--dimensions is '{text}', but must be numbers.", "--dimensions 256,128") from None
