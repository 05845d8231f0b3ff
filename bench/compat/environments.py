"""The clients of many versions, each in a virtual environment of its own; made once, kept in .cache/compat.

torch is installed once, into an environment of its own; a .pth file makes it importable from the others,
in which pip then finds it installed. Nothing else is shared with the environment that runs the proof.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"
NEEDED_BYTES = 6 * 10**9
CACHE = Path(__file__).parents[2] / ".cache" / "compat"


class NotInstalledError(Exception):
    """A client cannot be installed here; the text says why."""


@dataclass(frozen=True)
class Client:
    """One way in which people load the model: the script that does it and the packages it needs."""

    engine: str
    script: str
    # The package whose installed version stands in the table.
    package: str
    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.engine.split()[0]}-{re.split('==|@', self.packages[0])[-1]}"


def _sentence_transformers(version: str, transformers: str, hub: str) -> Client:
    pins = (f"sentence-transformers=={version}", f"transformers=={transformers}", f"huggingface_hub=={hub}")
    return Client("sentence-transformers", "sentence_transformers_vectors.py", "sentence-transformers", pins)


# Each with the transformers and huggingface_hub of its own months: that is what people have installed.
PYTHON_CLIENTS = (
    _sentence_transformers("3.4.1", "4.48.3", "0.28.1"),
    _sentence_transformers("4.1.0", "4.51.3", "0.30.2"),
    _sentence_transformers("5.1.2", "4.56.2", "0.34.4"),
    _sentence_transformers("5.7.0", "4.57.6", "0.36.2"),
    _sentence_transformers("6.2.0", "5.23.0", "2.4.0"),
    Client(
        "optimum ORTModel",
        "optimum_vectors.py",
        "optimum-onnx",
        ("optimum-onnx==0.1.0", "transformers==4.57.6", "onnxruntime"),
    ),
)
NODE_CLIENT = Client(
    "transformers.js", "transformers_js_vectors.mjs", "@huggingface/transformers", ("@huggingface/transformers@4.3.1",)
)


def python_of(client: Client) -> Path:
    """Return the interpreter that has the client installed; make its environment the first time."""
    folder = CACHE / client.name
    python = folder / "bin" / "python"
    stamp = folder / "installed.txt"
    wanted = "\n".join((TORCH, *client.packages)) + "\n"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        shared = _site_packages(_torch())
        _new_environment(folder)
        (_site_packages(python) / "shared-torch.pth").write_text(f"{shared}\n", encoding="utf-8")
        _pip(python, *client.packages)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def installed_version(python: Path, package: str) -> str:
    """Return the version of a package that an interpreter has."""
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    return _output([str(python), "-c", code, package]).strip()


def node_folder(client: Client) -> Path:
    """Return the folder whose node_modules hold the client; install it the first time."""
    folder = CACHE / client.name
    if shutil.which("npm") is None:
        raise NotInstalledError("npm is not installed")
    if not (folder / "node_modules" / client.package / "package.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Without this, onnxruntime-node fetches half a gigabyte of CUDA libraries.
        environment = {**os.environ, "ONNXRUNTIME_NODE_INSTALL_CUDA": "skip", "ONNXRUNTIME_NODE_INSTALL": "skip"}
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", *client.packages]
        _say(client.name)
        _output(command, environment)
    return folder


def _torch() -> Path:
    folder = CACHE / "torch"
    python = folder / "bin" / "python"
    stamp = folder / "installed.txt"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == TORCH):
        CACHE.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(CACHE).free
        if free < NEEDED_BYTES:
            raise NotInstalledError(
                f"{NEEDED_BYTES / 1e9:.0f} GB of free disk are needed, {free / 1e9:.1f} GB are free"
            )
        _new_environment(folder)
        _pip(python, TORCH)
        stamp.write_text(TORCH, encoding="utf-8")
    return python


def _new_environment(folder: Path) -> None:
    _say(folder.name)
    _output([sys.executable, "-m", "venv", "--clear", str(folder)])


def _pip(python: Path, *packages: str) -> None:
    _output([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])


def _site_packages(python: Path) -> Path:
    return Path(_output([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())


def _output(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if "ERROR" in line.upper()]
        raise NotInstalledError((lines or [f"{command[0]} ended with code {done.returncode}"])[0].strip())
    return done.stdout


def _say(name: str) -> None:
    print(f"making {CACHE / name} (once)", file=sys.stderr)
