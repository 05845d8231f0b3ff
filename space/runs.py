"""Runs: what a visitor launched, wherever it works; the page starts, asks and ends, and keeps nothing itself.

A run here is a process of its own that goes on when the browser or the page is closed, and waits for its turn where
others work. Of somebody who is signed in, every run is kept in a private repo of theirs, so that a Space that was
restarted, or rebuilt, finds it again.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from hfembed import compare
from hfembed.errors import HubError, InputError, RunBusyError, RunError
from hfembed.events import Reporter, silent
from hfembed.hub.runs import who_am_i
from hfembed.launch.contract import Launcher, Place
from hfembed.launch.home import find_homes
from hfembed.launch.queue import FOLDER, SLOTS
from hfembed.launch.record import Launch, LauncherName, Outcome, read_link, write_link
from hfembed.launch.send import Conditions, Plan, bring_inputs, launcher_of, plan, plan_again, send
from hfembed.launch.watch import concluded
from hfembed.pipeline import NAMES, manifests
from hfembed.recipe import Recipe
from hfembed.run import LAYOUT, Run

from .foreign import refuse_foreign, refuse_foreign_base
from .settings import Settings, read_settings
from .visitors import Visitor

RUN, UPLOADS, CANCELLED = "run", "uploads", "cancelled"
_starting = threading.Lock()


class Status(StrEnum):
    """How a run stands."""

    WAITING = "waiting"
    WORKING = "working"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Tell whether nothing happens any more."""
        return self not in (Status.WAITING, Status.WORKING)


@dataclass(frozen=True)
class VisitorRun:
    """A run of a visitor: what is known of it, and the folder that is its own here, which may hold nothing yet."""

    launch: Launch
    folder: Path

    @property
    def id(self) -> str:
        """What names it in an address."""
        return self.launch.id

    @property
    def run(self) -> Run:
        """What it has made, as far as that is here."""
        return Run(self.folder / RUN)

    @property
    def here(self) -> Run | None:
        """The same, where there is something."""
        return self.run if self.run.folder.is_dir() else None

    @property
    def launcher(self) -> Launcher:
        """Where it works."""
        attempt = self.launch.attempt
        flavor = attempt.flavor if attempt.launcher is LauncherName.AUTOTRAIN else None
        return launcher_of(attempt.launcher, silent(), flavor)

    @property
    def is_whole(self) -> bool:
        """Tell whether all that it was to make is here."""
        return self.here is not None and self.launch.until in manifests(self.run)

    @property
    def has_model(self) -> bool:
        """Tell whether its model is here."""
        return self.here is not None and "train" in manifests(self.run)


def new_folder(visitor: Visitor) -> Path:
    """Make the folder of a run that is about to be launched; what it needs is put into it first."""
    folder = visitor.folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def prepare(
    visitor: Visitor, folder: Path, recipe: Recipe, place: Place, until: str, conditions: Conditions | None = None
) -> Plan:
    """Look at what a run would take and cost; nothing is started yet.

    Raises an error of hfembed.errors for whatever keeps it from being launched.
    """
    with visitor.acting():
        kept = visitor.has_account and place.launcher.works_here and not visitor.is_owner
        wanted = conditions or Conditions()
        wanted = Conditions(wanted.owner, wanted.seconds, wanted.max_cost, wanted.token_from, wanted.twice, kept)
        return plan(recipe, Run(folder / RUN), place, wanted, silent(), until=until)


def start(visitor: Visitor, folder: Path, found: Plan) -> VisitorRun:
    """Launch what was prepared.

    Raises RunBusyError while as many runs of this visitor are under way as a visitor may have.
    """
    settings = read_settings()
    with _starting, visitor.acting():
        try:
            _refuse_too_many(visitor, settings)
            _set_queue(found, settings)
            return VisitorRun(send(found), folder)
        except BaseException:
            if read_link(Run(folder / RUN)) is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise


def resume(visitor: Visitor, one: VisitorRun, place: Place | None = None) -> VisitorRun:
    """Go on where a run stopped, there or elsewhere; what is done is kept."""
    settings, last = read_settings(), one.launch.attempt
    with _starting, visitor.acting():
        if not one.launcher.standing(one.launch, one.here).is_over:
            return one
        _refuse_too_many(visitor, settings)
        where = place or Place(last.launcher, None if last.launcher is LauncherName.LOCAL else last.flavor)
        found = plan_again(one.launch, one.run, where, Conditions(), silent())
        _refuse_foreign(visitor, one, found.order.recipe)
        (one.folder / CANCELLED).unlink(missing_ok=True)
        _set_queue(found, settings)
        return VisitorRun(send(found), one.folder)


def go_on(visitor: Visitor, one: VisitorRun, recipe: Recipe, until: str) -> VisitorRun:
    """Do further stages of a finished run here, under a recipe that says more than it said before.

    Where all but the last is done, that one alone is done from what lies there: what was looked at is what is published,
    whatever has become of the corpus, the base or this program since.
    """
    settings = read_settings()
    with _starting, visitor.acting():
        _refuse_too_many(visitor, settings)
        found = plan(recipe, one.run, Place(LauncherName.LOCAL), Conditions(), silent(), until=until)
        alone = set(NAMES[: NAMES.index(until)]) <= set(manifests(one.run))
        if not alone:
            _refuse_foreign(visitor, one, recipe)
        asked = {
            "until": until,
            "publishes": found.order.publishes,
            "recipe_hash": found.order.recipe_hash,
            "alone": alone,
        }
        again = one.launch.model_copy(update=asked)
        found = replace(found, order=replace(found.order, id=one.id, alone=alone, again=again))
        one.run.write_recipe(recipe)
        _set_queue(found, settings)
        return VisitorRun(send(found), one.folder)


def cancel(visitor: Visitor, one: VisitorRun) -> None:
    """Stop a run; what it has done is kept."""
    with visitor.acting():
        if not one.launcher.standing(one.launch, one.here).is_over:
            one.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (one.folder / CANCELLED).touch()
            one.launcher.cancel(one.launch, one.here)


def delete(visitor: Visitor, one: VisitorRun) -> None:
    """Forget what is here of a run that is over; what is on the Hub stays."""
    if not status(visitor, one).is_over:
        raise RunError("The run is still under way.", "Cancel it first.")
    shutil.rmtree(one.folder, ignore_errors=True)


def runs_here(visitor: Visitor) -> list[VisitorRun]:
    """Return the visitor's runs whose folders are here, newest first; the Hub is not asked."""
    found = []
    for own in visitor.folders:
        for folder in own.glob(f"*/{RUN}"):
            link = read_link(Run(folder))
            if link is not None:
                found.append(VisitorRun(link, folder.parent))
    return sorted(found, key=lambda one: one.id, reverse=True)


def runs_of(visitor: Visitor, report: Reporter | None = None) -> list[VisitorRun]:
    """Return the visitor's runs, newest first: those whose folders are here, and those that the Hub keeps."""
    here = {one.id: one for one in runs_here(visitor)}
    if visitor.has_account:
        with visitor.acting():
            try:
                kept = find_homes([who_am_i().name], report or silent())
            except HubError:
                if not here:
                    raise
                kept = []
        for launch in kept:
            known = here.get(launch.id)
            if known is None:
                here[launch.id] = VisitorRun(launch, visitor.folder / launch.id)
            elif len(launch.attempts) > len(known.launch.attempts):  # it was gone on with elsewhere
                here[launch.id] = VisitorRun(launch, known.folder)
    return sorted(here.values(), key=lambda one: one.id, reverse=True)


def find_run(visitor: Visitor, identity: str) -> VisitorRun:
    """Return a run of this visitor; nobody finds a run of another."""
    for look in (runs_here, runs_of):
        for one in look(visitor):
            if one.id == identity:
                return one
    raise InputError("There is no such run of yours.", "The Runs page lists them.")


def status(visitor: Visitor, one: VisitorRun) -> Status:
    """Return how a run stands; one elsewhere that was brought here is not asked again."""
    if concluded(one.launch, one.here) is not None:
        return Status.FINISHED
    with visitor.acting():
        standing = one.launcher.standing(one.launch, one.here)
        if not standing.is_over:
            return Status.WAITING if standing.is_waiting else Status.WORKING
        outcome = one.launcher.outcome(one.launch, one.here)
    if outcome is not None and outcome.error is None:
        return Status.FINISHED
    return Status.CANCELLED if (one.folder / CANCELLED).exists() else Status.FAILED


def outcome(visitor: Visitor, one: VisitorRun) -> Outcome | None:
    """Return how a run ended, in its own words, if it got to say so."""
    if (brought := concluded(one.launch, one.here)) is not None:
        return brought
    with visitor.acting():
        return one.launcher.outcome(one.launch, one.here)


def recipe_of(visitor: Visitor, one: VisitorRun) -> Recipe:
    """Return a run's recipe, for whatever is to be read or done by it."""
    recipe = one.run.recipe()
    _refuse_foreign(visitor, one, recipe)
    return recipe


def base_of(visitor: Visitor, one: VisitorRun) -> str:
    """Return the base model of a run, to be loaded here as the run used it."""
    if not visitor.is_owner:
        refuse_foreign_base(one.run.recipe().base, one.folder, read_settings())
    return compare.base_of(one.run)


def bring(visitor: Visitor, one: VisitorRun) -> VisitorRun:
    """Bring here what a run has made elsewhere, if it is not here yet."""
    with visitor.acting():
        if not one.is_whole:
            with arriving(one):
                one.launcher.bring(one.launch, one.run)
    return one


@contextmanager
def arriving(one: VisitorRun) -> Iterator[None]:
    """Give a run that comes from elsewhere its folder, and what it began with where that is not here any more."""
    one.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if one.launch.repo and not one.run.path(LAYOUT.recipe).is_file():
        bring_inputs(one.launch, one.run, silent())
    yield
    if read_link(one.run) is None:  # from now on it is found here
        write_link(one.run, one.launch)


def with_model(visitor: Visitor) -> list[VisitorRun]:
    """Return the visitor's finished runs whose models are here, newest first."""
    return [one for one in runs_here(visitor) if one.has_model and status(visitor, one) is Status.FINISHED]


def _refuse_foreign(visitor: Visitor, one: VisitorRun, recipe: Recipe) -> None:
    if not visitor.is_owner:
        refuse_foreign(recipe, one.folder, read_settings())


def _refuse_too_many(visitor: Visitor, settings: Settings) -> None:
    live = [one for one in runs_here(visitor) if not status(visitor, one).is_over]
    if len(live) >= settings.runs:
        raise RunBusyError(
            f"{len(live)} of your runs are under way, as many as one visitor may have here.",
            "Wait for one, or cancel one on the Runs page.",
        )


def _set_queue(found: Plan, settings: Settings) -> None:
    found.order.variables.update({FOLDER: str(settings.queue), SLOTS: str(settings.slots)})
