"""Files that ship with hfembed, found in a checkout and in an installed wheel alike."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent


def local_path(text: str) -> Path | None:
    """Return the file or folder that a text names, if there is one."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long for a name, an unknown user's home, a NUL
        return None


def user_cache() -> Path:
    """Return where things live that belong to no run; HFEMBED_CACHE moves it."""
    return Path(os.environ.get("HFEMBED_CACHE", "~/.cache/hfembed")).expanduser()


def presets_folder() -> Path:
    """Return the folder of the preset YAML files."""
    return PACKAGE / "presets"


def bases_file() -> Path:
    """Return the list of base models that are suggested."""
    return PACKAGE / "bases.yaml"


def sample_folder() -> Path:
    """Return the sample corpus, in BEIR layout."""
    return PACKAGE / "sample"


def cards_folder() -> Path:
    """Return the card templates: inside the package once installed, at the root in a checkout."""
    installed = PACKAGE / "cards"
    return installed if installed.is_dir() else PACKAGE.parent / "cards"


def constraints_file() -> Path:
    """Return the exact versions that the tests run on: inside the package once installed, at the root in a checkout."""
    installed = PACKAGE / "constraints.txt"
    return installed if installed.is_file() else PACKAGE.parent / "constraints.txt"


def space_module() -> ModuleType:
    """Import the Gradio front end from wherever it stands."""
    return import_module("hfembed.space.app" if (PACKAGE / "space").is_dir() else "space.app")
