"""The demo, which several end-to-end tests look at, run once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Demo:
    """What `hfembed demo` printed: its object, and its words."""

    shown: dict[str, Any]
    words: str


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Demo:
    """Run the demo whole, by the real MiniLM, with every address but this machine's cut off."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    # No address outside this machine can be reached through a proxy that is not there.
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    root = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "hfembed", "demo", "--root", str(root), "--exit", "--format", "json"],
        capture_output=True, text=True, timeout=900, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Demo(json.loads(done.stdout), done.stderr)


@pytest.fixture(scope="session")
def finished(demo: Demo) -> Path:
    """Return the demo's run: the preset `instant` on the shipped corpus."""
    return Path(demo.shown["run"]["run"])
