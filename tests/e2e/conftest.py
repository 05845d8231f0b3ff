"""Runs that several end-to-end tests look at, made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, minilm: Path, sample: Path) -> Path:
    """Run the preset `instant` with the real MiniLM on the shipped corpus, to the end of export."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    command = [sys.executable, "-m", "hfembed", "run", "--preset", "instant", "--corpus", str(sample)]
    command += ["--base", str(minilm), "--run", str(folder), "--until", "export", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (folder.parent / "answer.json").write_text(done.stdout, encoding="utf-8")
    return folder
