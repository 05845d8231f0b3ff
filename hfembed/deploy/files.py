"""The files of a Space that serves hfembed: its card, what it installs, its entry, and the code as a wheel."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from hfembed.deploy import entry
from hfembed.hub.cards import SpaceCardData
from hfembed.hub.spaces import ZERO_GPU
from hfembed.launch.bundle import WHEEL_NAME, build_wheel, read_constraints, requirements
from hfembed.push.card import render_card
from hfembed.recipe import DEFAULT_BASE

EXTRAS = ("files", "train", "onnx", "index", "space")
# ZeroGPU runs this version, and knows these of torch.
PYTHON = "3.12"
ZERO_TORCH = "torch>=2.8,<2.12"
# What the Hub itself settles in a Space: gradio's MCP server holds pydantic back, ZeroGPU brings spaces and torch.
SETTLED_THERE = ("pydantic", "spaces", "torch")
# What a visitor who signs in lets the Space do as them: make repos and change only those, start Jobs, read what is theirs.
SCOPES = ("contribute-repos", "jobs", "read-repos")
CARD = "space.md"


def space_files(flavor: str = ZERO_GPU, title: str = "hfembed") -> dict[str, bytes]:
    """Return every file of such a Space by its name; the same code gives the same bytes."""
    return {
        "README.md": render_card(CARD, card_data(flavor, title), title=title).encode(),
        "requirements.txt": "".join(f"{line}\n" for line in pinned_requirements()).encode(),
        "app.py": Path(entry.__file__).read_bytes(),
        f"{entry.WHEELS}/{WHEEL_NAME}": build_wheel(),
    }


def card_data(flavor: str = ZERO_GPU, title: str = "hfembed") -> SpaceCardData:
    """Return what the Hub has to know of such a Space."""
    return SpaceCardData(
        title=title,
        emoji="🔎",
        colorFrom="yellow",
        colorTo="indigo",
        sdk="gradio",
        sdk_version=gradio_version(),
        python_version=PYTHON,
        app_file="app.py",
        license="apache-2.0",
        short_description="Turn a corpus into an embedding model that is proven better",
        suggested_hardware=flavor,
        hf_oauth=True,
        hf_oauth_scopes=list(SCOPES),
        models=[DEFAULT_BASE],
        preload_from_hub=[DEFAULT_BASE],
        tags=["hfembed", "sentence-transformers", "mcp-server"],
    )


def pinned_requirements() -> list[str]:
    """Return what such a Space installs: at the versions that the tests run on, but for what the Hub settles."""
    pins = dict(
        line.split("==") for line in read_constraints().decode().splitlines() if "==" in line[1:] and line[0] != "#"
    )
    known = {_plain(name): version for name, version in pins.items()}
    lines = {}
    for needed in requirements(EXTRAS):
        if re.match(r"hfembed\b", needed):
            continue  # one extra names another of them; the wheel comes with the Space
        name = re.split(r"[^\w.-]", needed)[0]
        plain = _plain(name)
        pinned = f"{name}=={known[plain]}" if plain in known and plain not in SETTLED_THERE else needed
        lines[plain] = ZERO_TORCH if plain == "torch" else pinned
    return [lines[name] for name in sorted(lines)]


def gradio_version() -> str:
    """Return the version of gradio that is here; without it, the one that the tests run on."""
    try:
        return metadata.version("gradio")
    except metadata.PackageNotFoundError:
        found = re.search(r"^gradio==(.+)$", read_constraints().decode(), re.MULTILINE)
        return found[1] if found else ""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
