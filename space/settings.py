"""What the owner of a Space may set from outside; the environment is read here and nowhere else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hfembed.recipe import DEFAULT_BASE
from hfembed.resources import PACKAGE

DEFAULT_MEGABYTES = 200

# The owner's key opens the owner's private repos: a visitor's run must not hold it.
OWNER_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "OAUTH_CLIENT_SECRET")


@dataclass(frozen=True)
class Settings:
    """How this Space is set up.

    root: the folder that holds every visitor's private folder. bases: base models that are offered; these may be
    folders on this machine, while a visitor can name only Hub models. changes: `section.key=value` for every run.
    max_megabytes: what one visitor may upload for one run.
    """

    root: Path
    bases: tuple[str, ...]
    changes: tuple[str, ...]
    max_megabytes: int


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of this Space as the environment gives them now."""
    more_bases = [name for name in environment.get("HFEMBED_SPACE_BASES", "").split(os.pathsep) if name]
    return Settings(
        root=Path(environment.get("HFEMBED_SPACE_ROOT") or Path(tempfile.gettempdir()) / "hfembed-space").resolve(),
        bases=tuple(dict.fromkeys([*more_bases, DEFAULT_BASE])),
        changes=tuple(environment.get("HFEMBED_SPACE_SET", "").split()),
        max_megabytes=int(environment.get("HFEMBED_SPACE_MAX_MB") or DEFAULT_MEGABYTES),
    )


def run_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a visitor's run: it finds hfembed, and none of the owner's secrets."""
    kept = {name: value for name, value in environment.items() if name not in OWNER_SECRETS}
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), environment.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
