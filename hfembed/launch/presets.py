"""Presets: several of them tried on one corpus, wherever runs can go, with what they share done once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hfembed.errors import LaunchError, RunMismatchError
from hfembed.events import Events, Listener, Reporter
from hfembed.launch.contract import Place
from hfembed.launch.find import find_launch
from hfembed.launch.record import LauncherName, read_if_there, read_link, read_outcome
from hfembed.launch.send import Conditions, Plan, launcher_of, plan, plan_again, send
from hfembed.launch.spent import spent
from hfembed.launch.steps import Step, take_over
from hfembed.launch.watch import conclude, watch
from hfembed.mismatch import refuse_mismatch
from hfembed.pipeline import NAMES, STAGES, manifests
from hfembed.run import COMPARISON_LAYOUT, LAYOUT, Run, make_folder, write_json
from hfembed.stage import Sources, stage_inputs
from hfembed.summary import summarize

Listeners = Callable[[str], Listener]
METRICS = ("ndcg@10", "recall@10", "mrr@10")
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Comparison:
    """The steps of a comparison, the folder that holds a run for each, and where they are worked on."""

    folder: Path
    steps: Sequence[Step]
    place: Place
    conditions: Conditions

    def run(self, step: Step) -> Run:
        """Return the run of a step."""
        return Run(self.folder / step.name)

    def is_done(self, step: Step) -> bool:
        """Tell whether the results of a step are here."""
        return step.until in manifests(self.run(step))

    def plan(self, step: Step, report: Reporter, conditions: Conditions | None = None) -> Plan | None:
        """Look at what is still to be sent of a step: nothing of one that is done, or under way."""
        run, wanted = self.run(step), conditions or self.conditions
        if self.is_done(step):
            _refuse_stale(step, run)
            return None
        if read_link(run) is None:
            return plan(step.recipe, run, self.place, wanted, report, until=step.until, given=step.given)
        launch, _ = find_launch(str(run.folder), report)
        launcher = launcher_of(launch.attempt.launcher, report)
        if not launcher.standing(launch, run).is_over:
            return None
        try:
            conclude(launcher, launch, run)
        except LaunchError:
            return plan_again(launch, run, self.place, wanted, report)
        return None


def plan_all(comparison: Comparison, report: Reporter) -> dict[str, Plan]:
    """Look at everything that is to be sent, by step, and whether all of it stays within the money allowed."""
    free = replace(comparison, conditions=replace(comparison.conditions, max_cost=None))
    found = {step.name: planned for step in comparison.steps if (planned := free.plan(step, report))}
    most, worst = comparison.conditions.max_cost, sum(planned.worst for planned in found.values())
    if most is not None and worst > most:
        raise LaunchError(
            f"{len(found)} runs cost up to ${worst:.2f} together, more than --max-cost {most:g} allows.",
            "Allow more, name a cheaper flavor with --on, or fewer presets.",
        )
    return found


def allow(comparison: Comparison, planned: Mapping[str, Plan]) -> dict[str, Conditions]:
    """Return the conditions of each step: what the machines leave of the money, language models may share."""
    most = comparison.conditions.max_cost
    asking = [step.name for step in comparison.steps if step.name in planned and _asks(step)]
    left = 0.0 if most is None else most - sum(found.worst for found in planned.values())
    conditions = {}
    for name, found in planned.items():
        share = left / len(asking) if name in asking else 0.0
        limit = None if most is None or not share else found.worst + share
        conditions[name] = replace(comparison.conditions, seconds=found.order.seconds, max_cost=limit, twice=True)
    return conditions


def carry_out(comparison: Comparison, planned: Mapping[str, Plan], listeners: Listeners) -> dict[str, Exception]:
    """Send what was planned and follow all of it to its end; return what went wrong, by step.

    Runs on this machine go one after the other; elsewhere each begins as soon as what it goes on from is there.
    """
    make_folder(comparison.folder)
    conditions = allow(comparison, planned)
    failed: dict[str, Exception] = {}
    ended = {step.name: threading.Event() for step in comparison.steps}

    def work(step: Step) -> None:
        try:
            if step.after is not None:
                ended[step.after.name].wait()
                if step.after.name in failed:
                    raise LaunchError(f"{step.name} goes on from {step.after.name}, which failed.")
            _do(comparison, step, conditions.get(step.name), planned.get(step.name), listeners(step.name))
        except Exception as error:  # of one run: the others go on, and whoever asked decides
            failed[step.name] = error
        finally:
            ended[step.name].set()

    if comparison.place.launcher is LauncherName.LOCAL:
        for step in comparison.steps:
            work(step)
        return failed
    # Daemons: runs elsewhere need nobody who waits, so Ctrl-C leaves at once.
    threads = [threading.Thread(target=work, args=(step,), daemon=True) for step in comparison.steps]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        threads[-1].join(LOOK_SECONDS)
    return failed


def _do(
    comparison: Comparison, step: Step, conditions: Conditions | None, planned: Plan | None, listener: Listener
) -> None:
    """Bring one step to its end, from wherever it stands."""
    run, report = comparison.run(step), Reporter("launch", Events(listeners=[listener]))
    if planned is not None and not comparison.is_done(step):
        if step.after is not None:
            take_over(step, comparison.run(step.after), run)
        place = Place(planned.place.launcher, None if run_here(planned) else planned.chosen.hardware.name)
        found = replace(comparison, place=place).plan(step, report, conditions)
        if found is not None:
            send(found)
    if not comparison.is_done(step):
        launch, _ = find_launch(str(run.folder), report)
        watch(launcher_of(launch.attempt.launcher, report), launch, run, listener)


def run_here(planned: Plan) -> bool:
    """Tell whether a run is to be done on this machine."""
    return planned.place.launcher is LauncherName.LOCAL


def gather(comparison: Comparison, failed: Mapping[str, Exception]) -> dict[str, Any]:
    """Return what came of every step, as it is printed, drawn and kept."""
    tested = {
        manifests(comparison.run(step))["generate"].output for step in comparison.steps if _is_tested(comparison, step)
    }
    found = {
        "run": str(comparison.folder),
        "presets": [_row(comparison, step, failed) for step in comparison.steps if not step.is_shared],
        "shared": [_row(comparison, step, failed) for step in comparison.steps if step.is_shared],
        "same_queries": len(tested) <= 1,
    }
    write_json(comparison.folder / COMPARISON_LAYOUT.table, found)
    return found


def _is_tested(comparison: Comparison, step: Step) -> bool:
    return not step.is_shared and comparison.is_done(step)


def _row(comparison: Comparison, step: Step, failed: Mapping[str, Exception]) -> dict[str, Any]:
    run, error = comparison.run(step), failed.get(step.name)
    done = manifests(run)
    report = summarize(run)["report"] if _is_tested(comparison, step) else None
    return {
        "name": step.name,
        "presets": list(step.presets),
        "run": str(run.folder),
        "metrics": {name: report[name] for name in METRICS} if report else None,
        "verdict": summarize(run)["verdict"] if report else None,
        "sentence": report["sentence"] if report else None,
        "queries": report["queries"] if report else None,
        "stages": {name: done[name].seconds for name in step.stages if name in done},
        "seconds": round(sum(done[name].seconds for name in step.stages if name in done), 3),
        "dollars": _dollars(run),
        "error": getattr(error, "message", str(error)) if error else None,
        "hint": getattr(error, "hint", "") if error else "",
    }


def _dollars(run: Run) -> float | None:
    launch, file = read_link(run), run.path(LAYOUT.outcome)
    if launch is None:
        return None
    outcome = read_outcome(read_if_there(file), str(file), launch.attempt.number)
    return spent(launch.attempt, None, outcome).dollars


def _asks(step: Step) -> bool:
    return "generate" in step.stages and step.recipe.generate.asks_a_model()


def _refuse_stale(step: Step, run: Run) -> None:
    """Refuse to show results of another recipe, corpus, base or code than those that are asked for."""
    done, sources = manifests(run), Sources(step.recipe)
    refuse_mismatch(run, step.recipe, NAMES, done, ())
    for stage in STAGES[: NAMES.index(step.until) + 1]:
        if done[stage.name].inputs != stage_inputs(stage, step.recipe, done, sources):
            raise RunMismatchError(
                f"'{run.folder}' holds results of {stage.name} from another corpus, base or hfembed.",
                "Name another folder with --run.",
            )
