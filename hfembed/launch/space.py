"""space: a private Space that brings itself the code, works, shows how far it is on its page, and pauses itself.

It is a gradio Space, although no gradio runs in it: that sdk needs no Dockerfile, has the drivers of every GPU, and is
the one that the local Hub runs too. Its files are the same for every run; what is to be done stands in a variable.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from string import Template

from hfembed.errors import HubError
from hfembed.events import Reporter, silent
from hfembed.hardware import SPACE_HARDWARE, Hardware
from hfembed.hub.runs import RunRepo, find_run_repos
from hfembed.hub.spaces import GONE, Space, SpaceState, space_hardware
from hfembed.launch import bootstrap, spaceapp
from hfembed.launch.bundle import WHEEL_NAME
from hfembed.launch.contract import Offer, Order, begin, begun
from hfembed.launch.extras import processes_of
from hfembed.launch.home import home_name, read_home, settle
from hfembed.launch.keeper import bring_run
from hfembed.launch.log import Log
from hfembed.launch.record import (
    ID_DIGITS,
    REPO_PREFIX,
    Launch,
    LauncherName,
    Outcome,
    Standing,
    read_outcome,
    write_link,
)
from hfembed.pipeline import NAMES
from hfembed.run import REPO_LAYOUT, Run

SDK = "gradio"
# Should it fail to pause itself, it sleeps this long after the time of its run was up, if nobody looks at it.
SPARE_SECONDS = 3600
# After its last word it keeps its log and pauses itself within this.
REST_SECONDS, LOOK_SECONDS = 20.0, 0.5
PAGE = Path(__file__).with_name("spaceapp.html")
CARD = Template(
    """---
title: $title
emoji: 🔎
colorFrom: yellow
colorTo: indigo
sdk: $sdk
python_version: "$python"
app_file: app.py
pinned: false
tags:
- hfembed-run
---

# $title

This Space works on the run $id of hfembed, which [$repo](https://huggingface.co/datasets/$repo) keeps. It pauses
itself at the end. Started anew, it goes on where it stopped; `hfembed cancel --delete $id` removes it.
"""
)
# The quicker installer, where there is one.
REQUIREMENTS = "uv>=0.5\n"


class HubSpaces:
    """Runs Spaces of a namespace, one for each run, which has the name of the run's repo."""

    def __init__(self, report: Reporter | None = None) -> None:
        """Tell `report` of a Hub that does not answer."""
        self._report = report or silent()

    def hardware(self) -> list[Hardware]:
        """Ask the Hub what there is and what it costs; where it does not say, tell what it was."""
        try:
            return space_hardware(self._report)
        except HubError as error:
            self._report.note(f"prices are those that hfembed knows of: {error.message}")
            return list(SPACE_HARDWARE)

    def twin(self, order: Order) -> str | None:
        """Look among the runs of this recipe for one whose Space is at work."""
        names = find_run_repos(str(order.owner), REPO_PREFIX)
        for name in (name for name in names if name.endswith(f"-{order.recipe_hash[:ID_DIGITS]}")):
            launch = read_home(RunRepo(name, self._report))
            is_same = launch.attempt.launcher is LauncherName.SPACE and launch.recipe_hash == order.recipe_hash
            if is_same and not self.standing(launch, None).is_over:
                return launch.id
        return None

    def submit(self, order: Order, offer: Offer) -> Launch:
        """Fill the run's repo, make its Space or give it the new attempt, and start it."""
        owner = str(order.owner)
        launch = begin(order, offer, LauncherName.SPACE, owner, home_name(owner, order.id))
        launch = begun(launch, str(launch.repo))
        repo, space = RunRepo(str(launch.repo), self._report), self._space(launch)
        repo.create()
        settle(repo, order, launch)
        flavor, seconds = offer.hardware.name, int(order.seconds or 0)
        variables = {spaceapp.CONFIG: json.dumps(_config(order, offer, launch))}
        try:
            was_there = space.state().stage != GONE
            space.prepare(SDK, flavor, seconds + SPARE_SECONDS, order.secrets, variables)
            space.commit(_files(launch), "Work on a run")
            if was_there:
                space.restart()
        except HubError:
            if order.again is None:
                space.delete()
                repo.delete()  # nothing was begun that anyone could go on with
            raise
        write_link(order.run, launch)
        return launch

    def standing(self, launch: Launch, run: Run | None) -> Standing:
        """Ask for the Space, and where it is not on its way, for how the run ended."""
        space = self._space(launch)
        state = space.state()
        outcome = None if state.is_waiting else self.outcome(launch, run)
        if outcome is not None:
            stage, message = ("ERROR", outcome.error["message"]) if outcome.error else ("COMPLETED", "")
            return Standing(stage=stage, is_over=True, message=message, url=space.url)
        return Standing(
            stage=state.stage,
            is_over=state.is_at_rest,
            is_waiting=state.is_waiting,
            message=state.message or _words(state),
            url=None if state.stage == GONE else space.url,
        )

    def follow(self, launch: Launch, run: Run | None, *, wait: bool = True) -> Iterator[str]:
        """Yield the Space's log while it runs; that goes with it, so the rest comes from what the run's repo kept."""
        space, seen = self._space(launch), Counter[str]()
        log = Log(launch.attempt.flavor, space.log, lambda: self.standing(launch, run), self._report)
        if not self._space(launch).state().is_at_rest:
            for line in log.follow(wait=wait):
                seen[line] += 1
                yield line
        kept = RunRepo(str(launch.repo), self._report).read(_log_file(launch)) or b""
        for line in kept.decode("utf-8", "replace").splitlines():
            if seen[line]:
                seen[line] -= 1
            else:
                yield line

    def cancel(self, launch: Launch, run: Run | None) -> None:
        """Pause the Space; it is told first, and keeps what is done."""
        self._space(launch).pause()

    def delete(self, launch: Launch) -> bool:
        """Remove the Space; the run's repo stays, and the run can be gone on with."""
        space = self._space(launch)
        was_there = space.state().stage != GONE
        space.delete()
        return was_there

    def outcome(self, launch: Launch, run: Run | None) -> Outcome | None:
        """Read it in the run's repo."""
        content = RunRepo(str(launch.repo), self._report).read(REPO_LAYOUT.outcome)
        return read_outcome(content, f"{launch.repo}/{REPO_LAYOUT.outcome}", launch.attempt.number)

    def bring(self, launch: Launch, run: Run) -> None:
        """Bring what the Space kept; one that may not pause itself is paused by whoever sent it."""
        bring_run(RunRepo(str(launch.repo), self._report), run)
        space, deadline = self._space(launch), time.monotonic() + REST_SECONDS
        while not space.state().is_at_rest:
            if time.monotonic() > deadline:
                self._report.note("the Space did not pause itself: pausing it")
                space.pause()
                return
            time.sleep(LOOK_SECONDS)

    def _space(self, launch: Launch) -> Space:
        return Space(str(launch.repo), self._report)


def _words(state: SpaceState) -> str:
    """Return what a stage means for a run, where the Hub does not say why."""
    words = {
        "PAUSED": "The Space was paused before the run was done.",
        "SLEEPING": "The Space sleeps: nobody looked at it, and its time was up.",
        GONE: "The Space was deleted.",
    }
    return words.get(state.stage, "")


def _log_file(launch: Launch) -> str:
    return f"{REPO_LAYOUT.logs}/{launch.attempt.number}.txt"


def _files(launch: Launch) -> dict[str, bytes]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    card = CARD.substitute(title=f"hfembed run {launch.id}", id=launch.id, repo=launch.repo, sdk=SDK, python=python)
    return {
        "README.md": card.encode(),
        "requirements.txt": REQUIREMENTS.encode(),
        spaceapp.PAGE.name: PAGE.read_bytes(),
        "app.py": Path(spaceapp.__file__).read_bytes(),
        spaceapp.BOOTSTRAP.relative_to(spaceapp.HERE).as_posix(): Path(bootstrap.__file__).read_bytes(),
    }


def _config(order: Order, offer: Offer, launch: Launch) -> dict[str, object]:
    """Return what the app has to know; its owner can read it on the Space's page, so nothing secret is in it."""
    processes = processes_of(order.recipe, offer.hardware)
    sent = [str(launch.repo), REPO_LAYOUT.bundle, WHEEL_NAME, REPO_LAYOUT.constraints]
    return {
        "arguments": [*sent, ",".join(launch.extras), str(processes)],
        "attempt": launch.attempt.number,
        "events": REPO_LAYOUT.events,
        "id": launch.id,
        "log": _log_file(launch),
        "mark": bootstrap.MARK,
        "outcome": REPO_LAYOUT.outcome,
        "repo": launch.repo,
        "seconds": order.seconds,
        "secrets": sorted(order.secrets),
        "stages": NAMES[: NAMES.index(launch.until) + 1],
        "submitted": launch.attempt.submitted,
        "title": launch.name,
    }
