"""What the owner of a Space may set from outside; the environment is read here and nowhere else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hfembed.recipe import DEFAULT_BASE

DEFAULT_MEGABYTES, DEFAULT_SLOTS, DEFAULT_RUNS = 200, 1, 3
# Where a Space keeps files through restarts, if its owner gave it storage.
STORAGE = Path("/data")


@dataclass(frozen=True)
class Settings:
    """How this Space is set up.

    root: the folder that holds every visitor's private folder. bases: base models that are offered; these may be
    folders on this machine, while a visitor can name only Hub models. changes: `section.key=value` for every run.
    max_megabytes: what one visitor may upload for one run. slots: how many runs work here at once; the others wait.
    runs: how many runs one visitor may have under way. is_local: this is `hfembed space` on somebody's own machine,
    for that person alone. can_sign_in: visitors may sign in with their account of the Hub.
    """

    root: Path
    bases: tuple[str, ...]
    changes: tuple[str, ...]
    max_megabytes: int
    slots: int
    runs: int
    is_local: bool
    can_sign_in: bool

    @property
    def queue(self) -> Path:
        """The folder in which runs wait for their turn."""
        return self.root / "queue"


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of this Space as the environment gives them now."""
    more_bases = [name for name in environment.get("HFEMBED_SPACE_BASES", "").split(os.pathsep) if name]
    return Settings(
        root=Path(environment.get("HFEMBED_SPACE_ROOT") or _default_root()).resolve(),
        bases=tuple(dict.fromkeys([*more_bases, DEFAULT_BASE])),
        changes=tuple(environment.get("HFEMBED_SPACE_SET", "").split()),
        max_megabytes=int(environment.get("HFEMBED_SPACE_MAX_MB") or DEFAULT_MEGABYTES),
        slots=int(environment.get("HFEMBED_SPACE_SLOTS") or DEFAULT_SLOTS),
        runs=int(environment.get("HFEMBED_SPACE_RUNS") or DEFAULT_RUNS),
        is_local=environment.get("HFEMBED_SPACE_LOCAL") == "1" and "SPACE_ID" not in environment,
        can_sign_in=all(environment.get(name) for name in ("OAUTH_CLIENT_ID", "OPENID_PROVIDER_URL", "SPACE_ID")),
    )


def _default_root() -> Path:
    parent = STORAGE if STORAGE.is_dir() and os.access(STORAGE, os.W_OK) else Path(tempfile.gettempdir())
    return parent / "hfembed-space"
