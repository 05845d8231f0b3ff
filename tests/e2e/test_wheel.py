"""The wheel is complete: what the checkout has at its root, the installed package has inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_presets_sample_cards_and_space(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "hfembed/presets/instant.yaml", "hfembed/sample/corpus.jsonl", "hfembed/sample/qrels/test.tsv",
        "hfembed/cards/model.md", "hfembed/cards/dataset.md", "hfembed/cards/use.md", "hfembed/cards/folder.md",
        "hfembed/space/app.py", "hfembed/space/styles/base.css",
    ):  # fmt: skip
        assert name in names
    assert not [name for name in names if name.startswith(("space/", "cards/", "tests/", "bench/"))]


def test_the_installed_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path, tiny_model: Path, cheap: list[str]):
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", "import hfembed, hfembed.resources as r; print(hfembed.__file__, r.cards_folder())"],
        cwd=tmp_path, env=environment, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert where.count(str(site)) == 2
    command = [sys.executable, "-m", "hfembed", "run", "--corpus", "sample", "--base", str(tiny_model), "--run", "run"]
    done = subprocess.run(
        [*command, *cheap, "--format", "json"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["stages"]) == 6
