"""The repository itself is a Space."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from hfembed.deploy.files import SETTLED_THERE, ZERO_TORCH, card_data, pinned_requirements
from hfembed.launch.bundle import read_constraints
from hfembed.resources import PACKAGE, space_module

ROOT = PACKAGE.parent
# ZeroGPU narrows the first, the exporter the second.
NARROWED = ("torch", "transformers")


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


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
        [
            *project["dependencies"],
            *extras["files"],
            *extras["train"],
            *extras["onnx"],
            *(line for line in extras["index"] if not line.startswith("hfembed[")),
            *extras["space"],
        ]
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


def test_of_all_handlers_only_the_api_is_open_to_the_world() -> None:
    functions = list(space_module().build().fns.values())
    assert {function.api_visibility for function in functions} == {"private", "public"}
    public = {function.api_name for function in functions if function.api_visibility == "public"}
    assert public == {"search", "compare", "launch", "status", "runs"}


def test_the_repository_and_what_deploy_makes_are_the_same_space() -> None:
    card = yaml.safe_load((ROOT / "README.md").read_text().split("---")[1])
    assert card == card_data().to_dict()
    assert card["app_file"] == "app.py" and (ROOT / "app.py").is_file()
    deployed = {plain(re.split("[<>=]", line)[0]) for line in pinned_requirements()}
    written = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert {plain(line.partition(">")[0]) for line in written} == deployed
    assert ZERO_TORCH in written


def test_what_deploy_pins_is_what_the_tests_run_on_but_for_what_the_hub_settles() -> None:
    pins = {
        plain(line.split("==")[0]): line.split("==")[1]
        for line in read_constraints().decode().splitlines()
        if "==" in line
    }
    lines = pinned_requirements()
    pinned = {plain(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}
    assert pinned.items() <= pins.items()
    assert pinned["gradio"] == card_data().to_dict()["sdk_version"]
    loose = {plain(re.split("[<>]", line)[0]) for line in lines if "==" not in line}
    assert loose == set(SETTLED_THERE)
