"""The stages, in order. This list is the architecture; everything else fills it in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hfembed.errors import RunMismatchError, StageError
from hfembed.events import Event, Events, Listener
from hfembed.recipe import Recipe
from hfembed.run import LAYOUT, Manifest, Run
from hfembed.stage import Sources, Stage, execute, stage_inputs

STAGES = (
    Stage("pull", "corpus", owner=True, needs=(), sources=("corpus",)),
    Stage("generate", "triplets", owner=True, needs=("pull",), uses=("seed",)),
    Stage("mine", "triplets", owner=False, needs=("pull", "generate"), uses=("seed",), sources=("base",)),
    Stage("train", "model", owner=True, needs=("pull", "generate", "mine"), uses=("seed",), sources=("base",)),
    Stage("evaluate", "report", owner=True, needs=("pull", "generate", "train"), uses=("seed",), sources=("base",)),
    Stage("export", "model", owner=False, needs=("pull", "generate", "train"), uses=("seed",)),
    Stage("push", "push", owner=True, needs=("pull", "generate", "mine", "train", "evaluate", "export")),
)
NAMES = tuple(stage.name for stage in STAGES)

# What a change of these settings, which belong to no stage, makes stale first.
FIRST_USE = {"corpus": "pull", "seed": "generate", "base": "mine"}


def run(
    recipe: Recipe,
    target: Run,
    *,
    until: str | None = None,
    rerun: str | None = None,
    listeners: Sequence[Listener] = (),
) -> list[str]:
    """Do every stage that is not done yet; return the names of those that were done now.

    until: the last stage to do. rerun: this stage and all after it are done again.
    """
    last = until or ("push" if recipe.push.model_repo or recipe.push.dataset_repo else "export")
    chosen = STAGES[: NAMES.index(last) + 1]
    forced = NAMES[NAMES.index(rerun) :] if rerun else ()
    sources = Sources(recipe)
    sources.locate({name for stage in chosen for name in stage.sources})
    with target.locked():
        _refuse_mismatch(target, recipe, forced)
        return _work(recipe, target, chosen, lambda stage: stage.name in forced, listeners, sources)


def run_stage(name: str, recipe: Recipe, target: Run, listeners: Sequence[Listener] = ()) -> list[str]:
    """Do one stage from what lies in the run; earlier stages are neither checked anew nor redone."""
    stage = STAGES[NAMES.index(name)]
    with target.locked():
        done = manifests(target)
        for need in stage.needs:
            if need not in done:
                raise StageError(
                    f"{name} needs the results of {need}, which '{target.folder}' does not hold.",
                    f"hfembed {need} {target.folder}",
                )
        return _work(recipe, target, [stage], lambda stage: False, listeners, Sources(recipe))


def manifests(target: Run) -> dict[str, Manifest]:
    """Return the manifest of every finished stage."""
    found: dict[str, Manifest] = {}
    for folder in dict.fromkeys(stage.folder for stage in STAGES):
        found.update(target.manifests(folder))
    return found


def _work(
    recipe: Recipe,
    target: Run,
    stages: Sequence[Stage],
    forced: Callable[[Stage], bool],
    listeners: Sequence[Listener],
    sources: Sources,
) -> list[str]:
    events = Events(target.path(LAYOUT.events), listeners)
    worked = []
    try:
        target.abandon()
        for stage in stages:
            done = manifests(target)
            inputs = stage_inputs(stage, recipe, done, sources)
            if stage.name in done and done[stage.name].inputs == inputs and not forced(stage):
                events.emit(Event("skipped", stage.name, seconds=done[stage.name].seconds))
                continue
            target.write_recipe(recipe)
            execute(stage, target, recipe, inputs, events, sources)
            worked.append(stage.name)
        target.write_recipe(recipe)
    finally:
        events.close()
    return worked


def _refuse_mismatch(target: Run, recipe: Recipe, forced: Sequence[str]) -> None:
    if not target.path(LAYOUT.recipe).is_file():
        strangers = [item.name for item in target.folder.iterdir() if item.name != LAYOUT.lock]
        if strangers:
            raise RunMismatchError(
                f"'{target.folder}' holds other files ({strangers[0]}, ...) and no run.",
                "Name a new or empty folder with --run.",
            )
        return
    done = manifests(target)
    for stage, key, old, new in changes(target.recipe(), recipe):
        later = NAMES[NAMES.index(stage) :]
        if stage not in forced and stage != "push" and any(name in done for name in later):
            raise RunMismatchError(
                f"'{target.folder}' holds a run of another recipe: {key} is {old!r} there and {new!r} here.",
                f"Name another folder with --run, or redo from there on with --rerun {stage}.",
            )


def changes(old: Recipe, new: Recipe) -> list[tuple[str, str, object, object]]:
    """Return (stage, key, old value, new value) for every setting that differs, first stage first."""
    found = []
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    for name, stage in FIRST_USE.items():
        if before[name] != after[name]:
            found.append((stage, name, before[name], after[name]))
    for stage in NAMES:
        for key, value in after[stage].items():
            if before[stage][key] != value:
                found.append((stage, f"{stage}.{key}", before[stage][key], value))
    return sorted(found, key=lambda change: NAMES.index(change[0]))
