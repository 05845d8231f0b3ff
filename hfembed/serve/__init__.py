"""serve: a model behind the address that OpenAI's clients know."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hfembed.errors import InputError

if TYPE_CHECKING:
    from hfembed.serve.choices import Limits, Wishes
    from hfembed.serve.model import Served
    from hfembed.serve.server import Endpoint

KEY = "HFEMBED_API_KEY"


def serve(
    model: str, wishes: Wishes, limits: Limits, keys: Sequence[str], address: tuple[str, int],
    announce: Callable[[Endpoint, Served], None],
) -> None:  # fmt: skip
    """Serve a model until a signal ends it: a folder, a run, a Hub id, or a recipe, whose base it is.

    keys: clients need one of them; none are needed where there is none. announce: called once it answers.
    """
    endpoint, served = open_endpoint(model, wishes, limits, keys, address)
    endpoint.serve_until_stopped(lambda: announce(endpoint, served))


def open_endpoint(
    model: str, wishes: Wishes, limits: Limits, keys: Sequence[str], address: tuple[str, int]
) -> tuple[Endpoint, Served]:
    """Load a model and take an address (port 0: any free one); nothing is answered yet."""
    from hfembed.stage import require

    require("serve", "fastapi", "orjson", "prometheus_client", "tokenizers", "uvicorn")
    from hfembed.serve.engine import open_engine
    from hfembed.serve.model import find_served
    from hfembed.serve.server import Endpoint, quiet, take_address
    from hfembed.serve.service import Service

    quiet()
    listener = take_address(*address)  # before the model is loaded: a port that is taken is said at once
    served = find_served(model, wishes)
    return Endpoint(
        Service(served, open_engine(served, wishes.threads, wishes.batches), limits, keys), listener
    ), served


def read_keys(variable: str | None, file: Path | None, *, demanded: bool = False) -> list[str]:
    """Return the keys of which clients need one: of an environment variable, and of a file with one a line.

    demanded: to find none is an error, since someone believes that a key is asked for.
    """
    name = variable or KEY
    found = [os.environ.get(name, "").strip()]
    if file is not None:
        try:
            found += [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The keys cannot be read from '{file}': {type(error).__name__}.") from None
    keys = [key for key in found if key and not key.startswith("#")]
    if not keys and (demanded or variable or file):
        where = f"'{file}' holds none" if file else f"the environment variable {name} is not set"
        raise InputError(
            f"No API key was found: {where}.",
            f"export {name}=..., or --api-key-file FILE; a key never stands on the command line.",
        )
    return keys
