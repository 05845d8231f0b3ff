"""What runs the app of a Space, as `python app.py` would, with what is the Hub's own put aside.

On the Hub gradio starts a second server beside the app, by which the Hub's editor changes running code: it listens on
every address of the machine and writes files for whoever asks. There it stands in a container of its own; here it must
not stand at all. It runs on the standard library alone.
"""

from __future__ import annotations

import runpy
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType


def no_reload_server(
    prerun: Callable[..., object], postrun: Callable[..., object], stop_event: threading.Event
) -> None:
    """Stand where gradio expects the server that changes running code, and do nothing."""
    stop_event.wait()


def run_app(name: str) -> None:
    """Run an app in the folder of its Space."""
    module = ModuleType("spaces.reloading")
    module.__dict__["start_reload_server"] = no_reload_server
    sys.modules[module.__name__] = module
    sys.argv = [name]
    sys.path[0] = str(Path(name).resolve().parent)
    runpy.run_path(name, run_name="__main__")


if __name__ == "__main__":
    run_app(sys.argv[1])
