"""Adopt: a run that `hfembed run` did in its own process, remembered as one that was sent here."""

from __future__ import annotations

from hfembed.errors import RunError
from hfembed.events import silent
from hfembed.launch.contract import Place, begin, begun
from hfembed.launch.record import Launch, LauncherName, Outcome, now, read_link, this_machine, write_link
from hfembed.launch.send import Conditions, plan
from hfembed.pipeline import NAMES, manifests
from hfembed.run import LAYOUT, Run, write_atomically
from hfembed.stage import describe_machine
from hfembed.summary import summarize

# No process has this number, so none is taken for the run's.
NO_PROCESS = "0"


def adopt(run: Run) -> Launch:
    """Return what is remembered of a run; write that down where nobody did.

    Raises RunError for a run that has no model yet: it is still to be done by the command that began it.
    """
    known = read_link(run)
    if known is not None:
        return known
    done = manifests(run)
    if "train" not in done:
        raise RunError(
            f"The run in '{run.folder}' has no model yet.", f"hfembed run --run {run.folder} goes on with it."
        )
    until = [name for name in NAMES if name in done][-1]
    found = plan(run.recipe(), run, Place(LauncherName.LOCAL), Conditions(twice=True), silent(), until=until)
    launch = begun(begin(found.order, found.chosen, LauncherName.LOCAL, this_machine(), None), NO_PROCESS)
    summary = summarize(run)
    stages = {name: manifest.seconds for name, manifest in done.items()}
    outcome = Outcome(
        attempt=launch.attempt.number,
        error=None,
        seconds=round(sum(stages.values()), 3),
        stages=stages,
        verdict=summary["verdict"],
        published=summary["published"],
        machine=describe_machine(),
        finished=now(),
    )
    write_atomically(run.path(LAYOUT.outcome), outcome.to_text())
    write_link(run, launch)
    return launch
