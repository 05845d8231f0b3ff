"""Commands that run on this machine for the Hub's users: each in a folder of its own, looked after by a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hfembed.localhub.hardware import HARDWARE

# What a command sees of the server's own environment; its threads are bounded as the server's are, on the same cores.
_INHERITED = (
    "PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "OMP_NUM_THREADS",
)  # fmt: skip


def base_environment(folder: Path, endpoint: str, flavor: str) -> dict[str, str]:
    """Return what every command finds in its environment: nothing of the server's own leaks in."""
    # ZeroGPU is no flavor with a size of its own.
    hardware = next((item for item in HARDWARE if item["name"] == flavor), HARDWARE[0])
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # `python` is the one the server runs with, so that a command finds the same libraries.
    inherited["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}"
    return inherited | {
        "HOME": str(folder / "work"),
        "HF_ENDPOINT": endpoint,
        "ACCELERATOR": str((hardware["accelerator"] or {}).get("model", "none")),
        "CPU_CORES": hardware["cpu"].split()[0],
        "MEMORY": hardware["ram"].replace(" ", ""),
        "PYTHONUNBUFFERED": "1",
    }


def start_process(
    folder: Path,
    command: Sequence[str],
    environment: dict[str, str],
    *,
    timeout: float | None = None,
    attempts: int = 1,
    ends_with_server: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a command in the `work` folder of a folder, with a process beside it that keeps log and result there.

    `timeout` is in seconds; None never ends it. A command that fails is tried `attempts` times in all.
    """
    order = {
        "command": list(command),
        "environment": environment,
        "timeout": timeout,
        "attempts": attempts,
        "ends_with_server": ends_with_server,
    }
    descriptor = os.open(folder / "order.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(order, stream)
    with (folder / "supervisor.log").open("wb") as words:
        return subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("jobprocess.py")), str(folder)],
            stdin=subprocess.PIPE if ends_with_server else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", "")},
        )


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return how the command of a folder ended, or None while it runs or where it was lost."""
    path = folder / "result.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def is_alive(process: int, mark: str) -> bool:
    """Tell whether a process still looks after the folder with `mark` in its name, and is no later one of its number."""
    try:
        if not Path("/proc/self").exists():
            os.kill(process, 0)
            return True
        return mark in Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def end_process(process: subprocess.Popen[bytes] | None, number: int, mark: str) -> None:
    """Ask the process that looks after a command to end it; `process` is known where this server started it."""
    if process is not None:
        process.terminate()
    elif is_alive(number, mark):
        os.kill(number, signal.SIGTERM)
