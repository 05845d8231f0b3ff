"""Adopted: runs that the owner of this machine did on the command line, shown among those of the page."""

from __future__ import annotations

from pathlib import Path

from hfembed.launch.adopt import adopt
from hfembed.run import Run

from .runs import RUN, runs_here
from .visitors import visitor_of


def show_run(folder: Path) -> str:
    """Show a run of this machine on the owner's Runs page; return its id."""
    owner = visitor_of("", None)
    launch = adopt(Run.open(folder))
    if launch.id not in {one.id for one in runs_here(owner)}:
        place = owner.folder / launch.id
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        link = place / RUN
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve(), target_is_directory=True)
    return launch.id
