"""The contract of launchers: estimate, submit, follow, cancel, result. One module each; nothing else differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hfembed import __version__
from hfembed.errors import InputError, choices, nearest
from hfembed.hardware import Hardware
from hfembed.launch.inputs import Input
from hfembed.launch.record import Attempt, Expected, Launch, LauncherName, Outcome, Standing, now
from hfembed.launch.workload import Workload
from hfembed.recipe import Recipe
from hfembed.run import Run

# AutoTrain trains on a GPU, and this is the smallest.
AUTOTRAIN_FLAVOR = "t4-small"


@dataclass(frozen=True)
class Place:
    """Where a run is to go: a launcher, and the hardware there; none named means the one recommended."""

    launcher: LauncherName
    flavor: str | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read `local`, `jobs`, `jobs:FLAVOR`, `space` or `space:FLAVOR`, `autotrain`, `autotrain:FLAVOR` or `autotrain:ADDRESS`."""
        name, _, flavor = text.partition(":")
        if name not in list(LauncherName):
            raise InputError(
                f"'{text}' is nowhere a run can go; allowed: {choices(LauncherName)}. "
                f"{nearest(name, LauncherName)}".strip(),
                "--on local, --on jobs:l4x1, --on space:l4x1, --on autotrain, or --on jobs for the cheapest that fits",
            )
        if name == LauncherName.AUTOTRAIN:
            flavor = flavor or AUTOTRAIN_FLAVOR
        if name == LauncherName.LOCAL and flavor:
            raise InputError(f"'{text}': this machine has no flavors.", "--on local")
        return cls(LauncherName(name), flavor or None)


@dataclass(frozen=True)
class Offer:
    """What a run is expected to take on one machine, and why it cannot go there, if so."""

    hardware: Hardware
    expected: Expected
    refusal: str = ""


@dataclass(frozen=True)
class Order:
    """What is to be done, and under what conditions.

    recipe: with absolute paths. run: where the results end up. owner: whose account pays. secrets: variables that the
    run is given, besides what everyone may see. seconds: after which it is ended. keep: in a repo of the owner's too,
    where it works here. variables: what its process finds in its environment here.
    alone: only the last stage is done, from what lies in the run. again: an earlier launch to go on with.
    """

    id: str
    recipe: Recipe
    run: Run
    until: str
    rerun: str | None
    recipe_hash: str
    load: Workload
    extras: tuple[str, ...]
    inputs: tuple[Input, ...] = ()
    owner: str | None = None
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    seconds: int | None = None
    keep: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    alone: bool = False
    again: Launch | None = None

    @property
    def name(self) -> str:
        """What the run is called in lists."""
        return f"{Path(self.recipe.corpus or 'corpus').name} {self.recipe.preset}"

    @property
    def publishes(self) -> dict[str, str]:
        """The repos that are to hold its results, by kind."""
        push = self.recipe.push
        repos = {"model": push.model_repo, "dataset": push.dataset_repo}
        return {kind: repo for kind, repo in repos.items() if repo and self.until == "push"}


class Launcher(Protocol):
    """Somewhere that a run can be sent."""

    def hardware(self) -> list[Hardware]:
        """Return the machines there, with their prices."""

    def twin(self, order: Order) -> str | None:
        """Return the name of a live run of the same recipe, if there is one."""

    def submit(self, order: Order, offer: Offer) -> Launch:
        """Send a run there; return what is remembered of it."""

    def standing(self, launch: Launch, run: Run | None) -> Standing:
        """Return how it stands."""

    def follow(self, launch: Launch, run: Run | None, *, wait: bool = True) -> Iterator[str]:
        """Yield its log from the first line; until it is over, or what there is now where nobody is to wait."""

    def cancel(self, launch: Launch, run: Run | None) -> None:
        """End it; what was kept of it stays."""

    def delete(self, launch: Launch) -> bool:
        """Remove the machine that was made for it, where one is left; tell whether one was. The run's repo stays."""

    def outcome(self, launch: Launch, run: Run | None) -> Outcome | None:
        """Return how it ended in its own words, if it got to write that down."""

    def bring(self, launch: Launch, run: Run) -> None:
        """Bring what it has made into a run's folder here."""


def begin(order: Order, offer: Offer, launcher: LauncherName, owner: str, repo: str | None) -> Launch:
    """Return the launch of an order with a further attempt, whose job is not known yet."""
    earlier = order.again
    attempt = Attempt(
        number=len(earlier.attempts) + 1 if earlier else 1,
        launcher=launcher,
        flavor=offer.hardware.name,
        job="",
        owner=owner,
        seconds=order.seconds,
        submitted=now(),
        expected=offer.expected,
        hfembed=__version__,
    )
    if earlier is not None:
        return earlier.model_copy(update={"attempts": [*earlier.attempts, attempt]})
    return Launch(
        id=order.id,
        name=order.name,
        repo=repo,
        recipe_hash=order.recipe_hash,
        until=order.until,
        rerun=order.rerun,
        publishes=order.publishes,
        inputs=[entry.sent for entry in order.inputs] if repo else [],
        load=order.load,
        extras=list(order.extras),
        attempts=[attempt],
        alone=order.alone,
    )


def begun(launch: Launch, job: str) -> Launch:
    """Return the launch with its last attempt's job, now that it is known."""
    return launch.model_copy(
        update={"attempts": [*launch.attempts[:-1], launch.attempt.model_copy(update={"job": job})]}
    )
