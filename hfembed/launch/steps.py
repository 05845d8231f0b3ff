"""Steps: the runs that a comparison of presets takes; what presets have in common is a step of its own, done once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hfembed.mismatch import changes
from hfembed.pipeline import NAMES, STAGES, manifests
from hfembed.recipe import Recipe
from hfembed.run import LAYOUT, Run, make_folder

# What is trained tells presets apart; up to there they may share, and to here they are compared.
LAST_SHARED, LAST = "mine", "evaluate"
MOST_SHARED = NAMES.index(LAST_SHARED) + 1


@dataclass(frozen=True)
class Step:
    """One run: of a preset, or of what several have in common.

    after: the step whose results it goes on from. presets: whom it is for, several where they share it.
    """

    name: str
    recipe: Recipe
    until: str
    presets: tuple[str, ...]
    after: Step | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """The stages whose results it takes over."""
        return NAMES[: NAMES.index(self.after.until) + 1] if self.after else ()

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that it does itself."""
        return NAMES[len(self.given) : NAMES.index(self.until) + 1]

    @property
    def is_shared(self) -> bool:
        """Tell whether several presets go on from it."""
        return self.until != LAST


def arrange(recipes: Mapping[str, Recipe]) -> list[Step]:
    """Return the steps for recipes by preset, each after the one that it goes on from."""
    return list(_arrange(dict(recipes), None))


def _arrange(members: dict[str, Recipe], after: Step | None) -> Iterator[Step]:
    (name, first), *others = members.items()
    if not others:
        yield Step(name, first, LAST, (name,), after)
        return
    depth = min(_common(first, other) for _, other in others)
    if depth > (len(after.given) + len(after.stages) if after else 0):
        after = Step("+".join(members), first, NAMES[depth - 1], tuple(members), after)
        yield after
    for group in _split(members, depth):
        yield from _arrange(group, after)


def _split(members: Mapping[str, Recipe], depth: int) -> list[dict[str, Recipe]]:
    """Return groups of those that have more than so many stages in common."""
    groups: list[dict[str, Recipe]] = []
    for name, recipe in members.items():
        group = next((group for group in groups if _common(next(iter(group.values())), recipe) > depth), None)
        if group is None:
            groups.append({name: recipe})
        else:
            group[name] = recipe
    return groups


def _common(one: Recipe, other: Recipe) -> int:
    """Return how many stages, from the first on, do the same under two recipes."""
    found = changes(one, other, NAMES)
    return min([MOST_SHARED, *(NAMES.index(change.stage) for change in found)])


def take_over(step: Step, source: Run, target: Run) -> None:
    """Copy what a step goes on from into its own run; what is there already stays."""
    if set(step.given) <= set(manifests(target)):
        return
    make_folder(target.folder)
    folders = dict.fromkeys(stage.folder for stage in STAGES if stage.name in step.given)
    with target.locked():
        target.write_recipe(step.recipe)
        # Vectors and answers first: they only help, while results say that a stage is done.
        for name in (LAYOUT.embeddings, str(Path(LAYOUT.answers).parent), *folders):
            if source.path(name).is_dir():
                copy = target.begin("share") / name
                shutil.copytree(source.path(name), copy)
                shutil.rmtree(target.path(name), ignore_errors=True)
                copy.replace(target.path(name))
        target.abandon()
