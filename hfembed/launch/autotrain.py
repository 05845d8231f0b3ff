"""autotrain: a process of this machine does the run, and has AutoTrain on the Hub do its training.

Best effort: that project has rested since January 2025. Whatever it gives back is blended toward the base, evaluated,
exported and pushed as what is trained by hfembed itself.
"""

from __future__ import annotations

from hfembed.events import Reporter, silent
from hfembed.hardware import SPACE_HARDWARE, Hardware
from hfembed.hub import JOB_TOKEN
from hfembed.hub.autotrain import FLAVORS, is_address
from hfembed.launch.contract import Order
from hfembed.launch.local import Local
from hfembed.launch.record import LauncherName
from hfembed.launch.space import HubSpaces
from hfembed.recipe import Phase, Recipe, TrainMethod, Tuning, apply_settings


class AutoTrain(Local):
    """A local run whose training is done elsewhere."""

    name = LauncherName.AUTOTRAIN

    def __init__(self, report: Reporter | None = None, flavor: str | None = None) -> None:
        """Tell `report` of a Hub that does not answer; `flavor` may be the address of an instance that runs."""
        self._report, self._flavor = report or silent(), flavor

    def hardware(self) -> list[Hardware]:
        """Return the Spaces that AutoTrain makes; of an instance that runs nothing is known, and nothing is paid."""
        if self._flavor is not None and is_address(self._flavor):
            return [Hardware(self._flavor, "an AutoTrain that runs", 4, 15, 1, "T4", 16)]
        there = {item.name: item for item in SPACE_HARDWARE}
        there |= {item.name: item for item in HubSpaces(self._report).hardware()}
        return [there[name] for name in FLAVORS if name in there]

    def environment(self, order: Order) -> dict[str, str]:
        """Return what the process is given in secret: the token that AutoTrain gets."""
        return {JOB_TOKEN: order.secrets["HF_TOKEN"]}


def with_autotrain(recipe: Recipe, place: str) -> Recipe:
    """Return the recipe with one phase that AutoTrain does, as far as it can as the recipe's own."""
    if any(phase.method is TrainMethod.AUTOTRAIN for phase in recipe.train.phases):
        return recipe
    phase: dict[str, object] = {"method": TrainMethod.AUTOTRAIN, "place": place}
    first: Phase | Tuning = recipe.train.phases[0]
    if isinstance(first, Tuning):
        kept = first.model_dump(mode="json")
        phase |= {name: kept[name] for name in ("epochs", "batch_size", "accumulate", "learning_rate", "max_length")}
    return apply_settings(recipe.model_dump(mode="json"), options={"train.phases": [phase]})
