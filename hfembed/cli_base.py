"""What all commands share: the output format, and how errors are told."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hfembed.errors import HfembedError

INTERRUPTED = 130


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="json prints exactly one JSON object on stdout.")]


@contextmanager
def command_errors(output: Format) -> Iterator[None]:
    """Say what went wrong in one sentence and the next step, once, for every command."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\nInterrupted. The same command goes on where it stopped.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        raise
    except HfembedError as error:
        from hfembed import terminal

        if os.environ.get("HFEMBED_DEBUG"):
            raise
        terminal.show_error(error)
        if output is Format.JSON:
            terminal.print_json({"error": error.to_json()})
        raise typer.Exit(error.exit_code) from None
    except Exception as error:
        # Whatever else happens is a bug of ours: say so without a page of traceback.
        if os.environ.get("HFEMBED_DEBUG"):
            raise
        typer.echo(f"Unexpected error, a bug in hfembed: {type(error).__name__}: {error}", err=True)
        typer.echo("HFEMBED_DEBUG=1 shows where; finished stages are kept.", err=True)
        if output is Format.JSON:
            typer.echo(json.dumps({"error": {"type": type(error).__name__, "message": str(error), "hint": ""}}))
        raise typer.Exit(1) from None


def from_anywhere(recipe: Any, *keys: str) -> Any:
    """Return the recipe with absolute paths, so that its run can be continued from any folder."""
    from hfembed.recipe import GenerateMethod, apply_settings
    from hfembed.resources import local_path

    llm = recipe.generate.llm
    named = {
        "corpus": recipe.corpus,
        "base": recipe.base,
        "generate.pairs": recipe.generate.pairs,
        "train.dev_queries": recipe.train.dev_queries,
        "generate.llm.prompts": llm.prompts,
        "generate.filters.retriever": recipe.generate.filters.retriever,
        "mine.retriever": recipe.mine.retriever,
        "generate.llm.model": llm.model if recipe.generate.method is GenerateMethod.MODEL else None,
    }
    paths = {key: local_path(named[key] or "") for key in keys or named}
    absolute = {key: str(path.resolve()) for key, path in paths.items() if path is not None}
    return apply_settings(recipe.model_dump(mode="json"), options=absolute) if absolute else recipe


def run_name(corpus: str, what: str) -> str:
    """Return what a run's folder is called where no name is given."""
    name = re.sub(r"[^\w.-]+", "-", Path(corpus).name).strip("-.") or "corpus"
    return f"{name}-{what}"


def prepare_process() -> None:
    """Settle what the libraries read from the environment when they are imported; this process is ours."""
    for quiet in ("TQDM_DISABLE", "DISABLE_TQDM"):  # progress is shown once, by us
        os.environ.setdefault(quiet, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")  # a ping to an address that closed networks drop
    # oneDNN keeps compiled kernels and scratch memory for every shape it has seen; texts have hundreds.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    if not os.environ.get("HFEMBED_DEBUG"):
        warnings.simplefilter("ignore")
