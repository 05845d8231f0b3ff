"""front: the front end on this machine, for whoever starts it and nobody else."""

from __future__ import annotations

import os
import socket
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hfembed.errors import InputError, MissingExtraError
from hfembed.resources import space_module, user_cache

HOST = "127.0.0.1"
# Where gradio looks, too.
PORTS = range(7860, 7960)
NEEDED = ("gradio", "sentence_transformers")


@dataclass(frozen=True)
class Seat:
    """Where the front end is served: its port, and the folder that keeps the runs."""

    root: Path
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def variables(self) -> dict[str, str]:
        """Return the environment that the front end is to find, in this process or in another."""
        return {
            "HFEMBED_SPACE_LOCAL": "1",
            "HFEMBED_SPACE_ROOT": str(self.root),
            "GRADIO_SERVER_NAME": HOST,
            "GRADIO_SERVER_PORT": str(self.port),
            "GRADIO_NUM_PORTS": "1",
            "GRADIO_ANALYTICS_ENABLED": "False",
        }


def default_root() -> Path:
    """Return where the runs of the front end are kept when nothing else is said."""
    return user_cache() / "space"


def find_seat(root: Path, port: int | None = None) -> Seat:
    """Return a place to serve at: the port that is asked for, or the first one that is free."""
    free = next((number for number in ([port] if port else PORTS) if _is_free(number)), None)
    if free is None:
        taken = f"Port {port} is" if port else f"The ports from {PORTS[0]} to {PORTS[-1]} are all"
        raise InputError(f"{taken} taken on this machine.", "Name another: hfembed space --port 8080")
    return Seat(root, free)


def serve_front(seat: Seat, *, opens_browser: bool, runs: Sequence[Path] = ()) -> None:
    """Serve the front end until Ctrl-C; the runs it started go on. runs: folders of runs to be shown too."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"The front end needs '{missing[0]}', which is not installed.", 'pip install "hfembed[space,train]"'
        )
    os.environ.update(seat.variables())  # gradio reads its own when it is imported
    os.environ.pop("SPACE_ID", None)  # whoever is in a Space is not on a machine of their own
    space_module().launch(opens_browser=opens_browser and has_screen(), runs=runs)


def answers(seat: Seat) -> bool:
    """Tell whether the front end is up."""
    with suppress(OSError), urllib.request.urlopen(seat.url, timeout=10) as answer:
        return bool(answer.status == 200)
    return False


def has_screen() -> bool:
    """Tell whether a browser could open here; without a screen, Python would open one in the terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return True
    return False
