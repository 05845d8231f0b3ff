"""The repository itself is a Space."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from hfembed.resources import PACKAGE, space_module

ROOT = PACKAGE.parent
# ZeroGPU narrows the first, the exporter the second.
NARROWED = ("torch", "transformers")


def requirements(lines: list[str]) -> dict[str, str]:
    names = {}
    for line in lines:
        name = line.partition(">")[0]
        names[name] = line.removeprefix(name)
    return names


def test_the_space_installs_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = requirements(
        [*project["dependencies"], *extras["files"], *extras["train"], *extras["onnx"], *extras["space"]]
    )
    written = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    found = requirements(written)
    assert set(found) == set(wanted)
    assert {k: v for k, v in found.items() if k not in NARROWED} == {
        k: v for k, v in wanted.items() if k not in NARROWED
    }


def test_the_entry_is_a_few_lines() -> None:
    assert len(Path(ROOT / "app.py").read_text().splitlines()) <= 10


def test_the_front_end_is_built_without_torch() -> None:
    code = "import sys; from hfembed.resources import space_module; space_module().build(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_no_handler_is_open_to_the_world() -> None:
    functions = space_module().build().fns.values()
    assert functions
    assert {function.api_visibility for function in functions} == {"private"}
