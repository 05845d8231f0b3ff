"""May this recipe go on in that folder? What differs, and from which stage on it matters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hfembed.errors import RunMismatchError
from hfembed.recipe import Recipe
from hfembed.run import LAYOUT, Run

# What a change of these settings, which belong to no stage, makes stale first.
FIRST_USE = {"corpus": "pull", "seed": "generate", "base": "mine", "encoder": "mine"}
# A new address to push to contradicts nothing that was made.
FREE = "push"


@dataclass(frozen=True)
class Change:
    """One setting that differs between two recipes, and the first stage that reads it."""

    stage: str
    key: str
    old: Any
    new: Any


def changes(old: Recipe, new: Recipe, order: Sequence[str]) -> list[Change]:
    """Return every setting that differs, earliest stage first."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    found = [Change(stage, name, before[name], after[name]) for name, stage in FIRST_USE.items()]
    for stage in order:
        found += [Change(stage, f"{stage}.{key}", before[stage][key], value) for key, value in after[stage].items()]
    differing = [change for change in found if change.old != change.new]
    return sorted(differing, key=lambda change: order.index(change.stage))


def refuse_mismatch(
    target: Run, recipe: Recipe, order: Sequence[str], done: Collection[str], forced: Collection[str]
) -> None:
    """Refuse to mix two recipes in one folder, unless --rerun says from where to start over."""
    refuse_strangers(target)
    if not target.path(LAYOUT.recipe).is_file():
        return
    for change in changes(target.recipe(), recipe, order):
        stale = [name for name in order[order.index(change.stage) :] if name in done]
        if stale and change.stage not in forced and change.stage != FREE:
            raise RunMismatchError(
                f"'{target.folder}' holds a run of another recipe: "
                f"{change.key} is {change.old!r} there and {change.new!r} here.",
                f"Name another folder with --run, or redo from there on with --rerun {change.stage}.",
            )


def refuse_strangers(target: Run) -> None:
    """Refuse a folder that is filled but is no run."""
    if target.path(LAYOUT.recipe).is_file():
        return
    strangers = sorted(item.name for item in target.folder.iterdir() if item.name != LAYOUT.lock)
    if strangers:
        raise RunMismatchError(
            f"'{target.folder}' is not a run and is not empty: it holds {strangers[0]}.",
            "Name a new or empty folder with --run.",
        )
