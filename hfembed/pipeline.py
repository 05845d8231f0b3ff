"""The stages, in order. This list is the architecture; everything else fills it in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hfembed.errors import InputError, MissingExtraError, StageError
from hfembed.events import Event, Events, Listener
from hfembed.mismatch import refuse_mismatch, refuse_strangers
from hfembed.recipe import Recipe
from hfembed.run import LAYOUT, Manifest, Run
from hfembed.stage import Sources, Stage, execute, stage_inputs
from hfembed.together import dismiss, follow

BASE, SEED, TRAIN = ("base",), ("seed",), ("train",)
MADE = ("pull", "generate", "train")

STAGES = (
    Stage("pull", "corpus", owner=True, needs=(), sources=("corpus", "tokenizer")),
    Stage("generate", "triplets", owner=True, needs=("pull",), uses=SEED),
    Stage("mine", "triplets", owner=False, needs=("pull", "generate"), uses=SEED, sources=BASE, extras=TRAIN),
    Stage("train", "model", owner=True, needs=("pull", "generate", "mine"), uses=SEED, sources=BASE, extras=TRAIN),
    Stage("evaluate", "report", owner=True, needs=MADE, uses=SEED, sources=BASE, extras=TRAIN),
    Stage("export", "model", owner=False, needs=MADE, extras=("train", "onnx")),
    Stage("push", "push", owner=True, needs=("pull", "generate", "mine", "train", "evaluate", "export"), extras=TRAIN),
)
NAMES = tuple(stage.name for stage in STAGES)


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
    follow()
    last = last_stage(recipe, until)
    if rerun and NAMES.index(rerun) > NAMES.index(last):
        raise InputError(
            f"{rerun} comes after {last}, where the run is to end.", f"Leave out --until, or: --until {rerun}"
        )
    chosen = STAGES[: NAMES.index(last) + 1]
    forced = NAMES[NAMES.index(rerun) :] if rerun else ()
    sources = Sources(recipe)
    sources.locate({name for stage in chosen for name in stage.reads(recipe)})
    with target.locked():
        refuse_mismatch(target, recipe, NAMES, manifests(target), forced)
        return _work(recipe, target, chosen, lambda stage: stage.name in forced, listeners, sources)


def last_stage(recipe: Recipe, until: str | None) -> str:
    """Return the stage that a run ends with: the one asked for, else push where a repo is named, else export."""
    return until or ("push" if recipe.push.model_repo or recipe.push.dataset_repo else "export")


def run_stage(name: str, recipe: Recipe, target: Run, listeners: Sequence[Listener] = ()) -> list[str]:
    """Do one stage from what lies in the run; earlier stages are neither checked anew nor redone."""
    follow()
    stage = STAGES[NAMES.index(name)]
    with target.locked():
        _refuse_missing(stage, target)
        refuse_strangers(target)
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
    for stage in stages:
        target.refuse_foreign(stage.folder)
    target.write_recipe(recipe)
    events = Events(target.path(LAYOUT.events), listeners)
    worked: list[str] = []
    try:
        target.abandon()
        for stage in stages:
            done = manifests(target)
            inputs = stage_inputs(stage, recipe, done, sources)
            if stage.name in done and done[stage.name].inputs == inputs and not forced(stage):
                events.emit(Event("skipped", stage.name, seconds=done[stage.name].seconds))
                continue
            if not worked:
                _check_installed(stages[stages.index(stage) :])
            execute(stage, target, recipe, done, events, sources)
            worked.append(stage.name)
    finally:
        events.close()
        dismiss()
    return worked


def _refuse_missing(stage: Stage, target: Run) -> None:
    """Refuse to build on results that are not there, or that were made from others than those that are there."""
    done = manifests(target)
    for need in stage.needs:
        if need not in done:
            raise StageError(
                f"{stage.name} needs the results of {need}, which '{target.folder}' does not hold.",
                f"hfembed {need} {target.folder}",
            )
        stale = [name for name, output in done[need].upstream.items() if name in done and done[name].output != output]
        if stale:
            raise StageError(
                f"{stage.name} needs the results of {need}, but they were made before {stale[0]} was done again.",
                f"hfembed {need} {target.folder}",
            )


def _check_installed(stages: Sequence[Stage]) -> None:
    """Refuse before any work is done, with the one command that installs all that is missing."""
    missing = {stage.name: stage.missing() for stage in stages if stage.missing()}
    if not missing:
        return
    first, (name, *_) = next((stage, list(found.values())) for stage, found in missing.items())
    extras = sorted({extra for found in missing.values() for extra in found})
    without = "; or go without ONNX files: --until evaluate" if extras == ["onnx"] else ""
    raise MissingExtraError(
        f"{first} needs '{name}', which is not installed.", f'pip install "hfembed[{",".join(extras)}]"{without}'
    )
