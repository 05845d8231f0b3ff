"""Home: the private repo on the Hub that keeps a run which was sent elsewhere, from its inputs to its end."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from string import Template

from hfembed.errors import InputError, RunError
from hfembed.events import Reporter
from hfembed.hub.runs import RunRepo, find_run_repos
from hfembed.launch.bundle import WHEEL_NAME, build_wheel, read_constraints
from hfembed.launch.contract import Order
from hfembed.launch.inputs import without_inputs
from hfembed.launch.keeper import run_files
from hfembed.launch.record import REPO_PREFIX, Launch, read_launch
from hfembed.run import REPO_LAYOUT

# Each run takes a request or two; asked for one after the other, many runs would take long.
AT_ONCE = 8
CARD = Template(
    """---
viewer: false
tags:
- hfembed-run
---

# $name

What a run of hfembed needs and makes, kept while it is worked on elsewhere: its recipe and inputs, the code, what is
done so far. `hfembed status $id` shows how it stands, `hfembed run --resume $id` goes on where it stopped. Once its
results are where they should be, this repo can be deleted.
"""
)


def home_name(owner: str, identity: str) -> str:
    """Return the name of the repo that keeps a run."""
    return f"{owner}/{REPO_PREFIX}{identity}"


def settle(repo: RunRepo, order: Order, launch: Launch) -> None:
    """Put into the repo all that a machine elsewhere needs: code, and for a new run recipe, inputs and what is done."""
    files: dict[str, Path | bytes] = {
        REPO_LAYOUT.launch: launch.to_text().encode(),
        f"{REPO_LAYOUT.bundle}/{WHEEL_NAME}": build_wheel(),
        REPO_LAYOUT.constraints: read_constraints(),
    }
    with tempfile.TemporaryDirectory(prefix="hfembed-settle-") as work:
        if order.again is None:
            card = CARD.substitute(name=launch.name, id=launch.id)
            recipe = without_inputs(order.recipe, launch.inputs).to_yaml()
            files |= {REPO_LAYOUT.card: card.encode(), REPO_LAYOUT.recipe: recipe.encode()}
            files |= run_files(order.run)
            for entry in order.inputs:
                files |= dict(entry.contents(Path(work)))
        repo.commit(files, message="Send the run")


def note(repo: RunRepo, launch: Launch) -> None:
    """Write down where the run is worked on now."""
    repo.commit({REPO_LAYOUT.launch: launch.to_text().encode()}, message="Note the job")


def read_home(repo: RunRepo) -> Launch:
    """Return the launch that a repo keeps."""
    content = repo.read(REPO_LAYOUT.launch)
    if content is None:
        raise InputError(f"'{repo.name}' keeps no run: it has no {REPO_LAYOUT.launch}.", "hfembed runs lists them.")
    launch = read_launch(content, f"{repo.name}/{REPO_LAYOUT.launch}")
    if repo.name.partition("/")[2] != REPO_PREFIX + launch.id:  # folders are named after it
        raise InputError(f"'{repo.name}' keeps no run of its name, but '{launch.id}'.", "hfembed runs lists them.")
    return launch


def find_homes(owners: Sequence[str], report: Reporter) -> list[Launch]:
    """Return the runs that are kept for some owners, newest first; a repo that only bears such a name is passed over."""

    def read(name: str) -> Launch | None:
        try:
            return read_home(RunRepo(name, report))
        except (InputError, RunError) as error:
            report.warn(error.message)
            return None

    names = [name for owner in owners for name in find_run_repos(owner, REPO_PREFIX)]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="homes") as threads:
        # Each thread speaks to the Hub as whoever asks.
        asked = [threads.submit(copy_context().run, read, name) for name in names]
    found = [launch for launch in (answer.result() for answer in asked) if launch is not None]
    return sorted(found, key=lambda launch: launch.id, reverse=True)
