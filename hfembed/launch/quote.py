"""Quote: what a recipe would take on every machine of a place, before anybody signs in or anything is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hfembed.errors import LaunchError
from hfembed.hardware import Hardware
from hfembed.launch.contract import Offer
from hfembed.launch.estimate import choose, offer, time_limit
from hfembed.launch.workload import Workload
from hfembed.pipeline import NAMES
from hfembed.recipe import Recipe


@dataclass(frozen=True)
class Quote:
    """What a run would take at a place. best: the machine that is recommended; refusal: why there is none."""

    offers: tuple[Offer, ...]
    best: Offer | None
    refusal: str = ""

    def of(self, flavor: str | None) -> Offer | None:
        """Return the offer of a machine, or the recommended one where none is named."""
        return next((entry for entry in self.offers if entry.hardware.name == flavor), None) if flavor else self.best


def quote(
    recipe: Recipe, load: Workload, hardware: Sequence[Hardware], until: str, usual: str | None = None, *, remote: bool
) -> Quote:
    """Return what a whole run takes on each machine, with the numbers that a plan of it begins with.

    usual: the machine that is taken where none is named; when not set: the cheapest that fits.
    """
    stages = NAMES[: NAMES.index(until) + 1]
    offers = tuple(offer(recipe, stages, load, item, remote=remote) for item in hardware)
    try:
        return Quote(offers, choose(offers, usual))
    except LaunchError as error:
        return Quote(offers, None, f"{error.message} {error.hint}".strip())


def most_dollars(found: Offer) -> float:
    """Return the most that a machine can cost before it is ended."""
    return found.hardware.dollars(time_limit(found.expected))
