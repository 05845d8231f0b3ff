"""Send: from a recipe and a place to a run that is under way there; everything is looked at before anything is paid."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hfembed.errors import InputError, LaunchError
from hfembed.events import Reporter
from hfembed.hub.runs import RunRepo
from hfembed.launch.account import find_owner, find_secrets, refuse_unreachable
from hfembed.launch.autotrain import AutoTrain, with_autotrain
from hfembed.launch.contract import Launcher, Offer, Order, Place
from hfembed.launch.estimate import choose, offer, time_limit
from hfembed.launch.extras import extras_of
from hfembed.launch.inputs import find_inputs, hash_recipe, unpack, with_inputs
from hfembed.launch.jobs import HubJobs
from hfembed.launch.keeper import bring_run, kept_stages
from hfembed.launch.local import Local
from hfembed.launch.record import Launch, LauncherName, new_id, read_link
from hfembed.launch.space import HubSpaces
from hfembed.launch.workload import measure_workload
from hfembed.mismatch import refuse_mismatch
from hfembed.pipeline import NAMES, last_stage, manifests
from hfembed.recipe import Recipe, apply_settings, read_recipe
from hfembed.run import LAYOUT, REPO_LAYOUT, Run, make_folder


@dataclass(frozen=True)
class Conditions:
    """What the user wants: whose account pays, for how long, for how much, with which token, a second time.

    keep: a run that works on this machine is kept on the Hub too, so that any machine can go on with it.
    """

    owner: str | None = None
    seconds: int | None = None
    max_cost: float | None = None
    token_from: str | None = None
    twice: bool = False
    keep: bool = False


@dataclass(frozen=True)
class Plan:
    """A run that can be sent: what is asked for it there, and by whom else."""

    launcher: Launcher
    place: Place
    order: Order
    chosen: Offer
    others: tuple[Offer, ...]

    @property
    def worst(self) -> float:
        """The most that its machine can cost before it is ended."""
        return self.chosen.hardware.dollars(self.order.seconds or 0)


def launcher_of(name: LauncherName, report: Reporter, flavor: str | None = None) -> Launcher:
    """Return the launcher of a name."""
    launchers: dict[LauncherName, Launcher] = {
        LauncherName.LOCAL: Local(),
        LauncherName.JOBS: HubJobs(report),
        LauncherName.SPACE: HubSpaces(report),
        LauncherName.AUTOTRAIN: AutoTrain(report, flavor),
    }
    return launchers[name]


def plan(
    recipe: Recipe,
    run: Run,
    place: Place,
    conditions: Conditions,
    report: Reporter,
    *,
    until: str | None = None,
    rerun: str | None = None,
    given: Sequence[str] = (),
) -> Plan:
    """Look at everything that decides whether, where and for how much a recipe can be done; nothing is sent yet.

    given: stages whose results will be there by then.
    """
    if place.launcher is LauncherName.AUTOTRAIN:
        recipe = with_autotrain(recipe, str(place.flavor))
    last = last_stage(recipe, until)
    done = _done(recipe, run, last, rerun) | set(given)
    stays = place.launcher.works_here and not conditions.keep
    inputs = () if stays else tuple(find_inputs(recipe))
    recipe_hash = hash_recipe(recipe, inputs or find_inputs(recipe))
    order = Order(
        id=new_id(recipe_hash),
        recipe=recipe,
        run=run,
        until=last,
        rerun=rerun,
        recipe_hash=recipe_hash,
        load=measure_workload(recipe, run, sum(entry.size() for entry in inputs)),
        extras=tuple(extras_of(recipe, last)),
        inputs=inputs,
        keep=conditions.keep,
    )
    return _price(order, place, conditions, [name for name in _until(last) if name not in done], report)


def plan_again(launch: Launch, run: Run, place: Place, conditions: Conditions, report: Reporter) -> Plan:
    """Look at the same for a launch that ended before it was done, to go on with it there or elsewhere."""
    repo = RunRepo(launch.repo, report) if launch.repo else None
    if place.launcher.works_here and repo and not _is_here(launch, run):
        bring_run(repo, run)
        bring_inputs(launch, run, report)
    at_home = not place.launcher.works_here and repo is not None
    done = kept_stages(repo) if at_home and repo else set(manifests(run))
    recipe = _kept_recipe(repo) if at_home and repo else run.recipe()
    order = Order(
        id=launch.id,
        recipe=recipe,
        run=run,
        until=launch.until,
        rerun=launch.rerun,
        recipe_hash=launch.recipe_hash,
        load=launch.load,
        extras=tuple(launch.extras),
        again=launch,
    )
    return _price(order, place, conditions, [name for name in _until(launch.until) if name not in done], report)


def bring_inputs(launch: Launch, run: Run, report: Reporter) -> None:
    """Bring a run's recipe into its folder here, with the inputs that were sent with it."""
    repo = RunRepo(str(launch.repo), report)
    make_folder(run.folder)
    repo.download(run.folder, [f"{REPO_LAYOUT.inputs}/**"])
    unpack(launch.inputs, run.folder)
    run.write_recipe(with_inputs(_kept_recipe(repo), launch.inputs, run.folder.resolve()))


def send(found: Plan) -> Launch:
    """Send a run that was planned."""
    run = found.order.run
    make_folder(run.folder)
    if found.order.again is None or not run.path(LAYOUT.recipe).is_file():
        run.write_recipe(found.order.recipe)
    return found.launcher.submit(found.order, found.chosen)


def _price(order: Order, place: Place, conditions: Conditions, left: Sequence[str], report: Reporter) -> Plan:
    launcher = launcher_of(place.launcher, report, place.flavor)
    remote = place.launcher is not LauncherName.LOCAL
    if order.keep:
        order = replace(order, owner=find_owner(conditions.owner))
    if remote:
        last = order.again.attempt if order.again else None
        owner = find_owner(conditions.owner or (last.owner if last and not last.launcher.works_here else None))
        order = replace(order, owner=owner, secrets=find_secrets(order.recipe, conditions.token_from))
        if not place.launcher.works_here:
            refuse_unreachable(order.recipe)
    twin = None if conditions.twice else launcher.twin(order)
    if twin:
        raise LaunchError(
            f"The same recipe is being worked on already: {twin}.", f"hfembed logs -f {twin}; or once more with --again"
        )
    offers = [offer(order.recipe, left, order.load, hardware, remote=remote) for hardware in launcher.hardware()]
    chosen = choose(offers, place.flavor)
    seconds = conditions.seconds or (time_limit(chosen.expected) if remote else None)
    others = tuple(entry for entry in offers if entry is not chosen and not entry.refusal)
    found = Plan(launcher, place, replace(order, seconds=seconds), chosen, others)
    return _within(found, conditions.max_cost)


def _within(found: Plan, most: float | None) -> Plan:
    """Refuse what may cost more than is allowed; what the machine leaves of it, a language model may cost."""
    if most is None:
        return found
    if found.worst > most:
        raise LaunchError(
            f"{found.chosen.hardware.name} for up to {(found.order.seconds or 0) / 60:.0f} minutes costs up to "
            f"${found.worst:.2f}, more than --max-cost {most:g} allows.",
            "Allow more, name a cheaper flavor (--on jobs recommends one), or end it sooner with --timeout.",
        )
    llm = found.order.recipe.generate.llm
    uses = found.order.recipe.generate.asks_a_model()
    if not uses or llm.price_in is None or llm.price_out is None or most == found.worst:
        return found
    values = found.order.recipe.model_dump(mode="json")
    capped = apply_settings(values, options={"generate.llm.max_cost": round(most - found.worst, 2)})
    return replace(found, order=replace(found.order, recipe=capped))


def _done(recipe: Recipe, run: Run, until: str, rerun: str | None) -> set[str]:
    """Return the stages that need not be done, after the checks that a run here begins with."""
    if rerun and rerun not in _until(until):
        raise InputError(f"{rerun} comes after {until}, where the run is to end.", f"--until {rerun}")
    done = manifests(run)
    forced = NAMES[NAMES.index(rerun) :] if rerun else ()
    if run.folder.is_dir():
        refuse_mismatch(run, recipe, NAMES, done, forced)
    return set(done) - set(forced)


def _until(last: str) -> tuple[str, ...]:
    return NAMES[: NAMES.index(last) + 1]


def _is_here(launch: Launch, run: Run) -> bool:
    """Tell whether the last attempt worked in this very folder: what it holds is newer than what the Hub keeps."""
    link = read_link(run) if run.folder.is_dir() else None
    return link is not None and link.attempt == launch.attempt and launch.attempt.launcher.works_here


def _kept_recipe(repo: RunRepo) -> Recipe:
    with tempfile.TemporaryDirectory(prefix="hfembed-recipe-") as work:
        repo.download(Path(work), [REPO_LAYOUT.recipe])
        return read_recipe(Path(work) / REPO_LAYOUT.recipe)
