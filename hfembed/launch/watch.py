"""Watch: a run elsewhere as if it were here; over only when what it was to make is where it should be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from hfembed.errors import LaunchError
from hfembed.events import Event, Listener
from hfembed.hub.runs import missing_files
from hfembed.launch.contract import Launcher
from hfembed.launch.learned import learn
from hfembed.launch.record import Launch, Outcome, Standing, read_if_there, read_outcome
from hfembed.launch.stream import read_event
from hfembed.pipeline import manifests
from hfembed.run import LAYOUT, Run, write_atomically

# What says that a repo of a kind was published whole.
WHOLE = {
    "model": ("README.md", "config.json", "modules.json", "tokenizer.json", "recipe.yaml"),
    "dataset": ("README.md",),
}
# Lines of a log that are shown where it tells of an end in no other way.
LAST_LINES = 12


def watch(launcher: Launcher, launch: Launch, run: Run | None, listener: Listener) -> Outcome:
    """Show what a run does until it is over; return how it ended, or raise what is missing."""
    rest: deque[str] = deque(maxlen=LAST_LINES)
    for line in launcher.follow(launch, run):
        event = read_event(line)
        if event is not None:
            listener(event)
        elif line.strip():
            rest.append(line)
    return conclude(launcher, launch, run, "\n".join(rest))


def read_log(launcher: Launcher, launch: Launch, run: Run | None, *, wait: bool) -> Iterator[Event | str]:
    """Yield a run's log: its events, and the lines between them."""
    for line in launcher.follow(launch, run, wait=wait):
        yield read_event(line) or line


def conclude(launcher: Launcher, launch: Launch, run: Run | None, log: str = "") -> Outcome:
    """Check an ended run against what it was to make, bring its results here, and learn from how long it took."""
    known = concluded(launch, run)
    if known is not None:
        return known
    standing, outcome = launcher.standing(launch, run), launcher.outcome(launch, run)
    if run is not None:
        launcher.bring(launch, run)
    if outcome is None or outcome.error:
        raise _failure(launch, standing, outcome, log)
    _refuse_unfinished(launch, run, outcome, standing)
    if run is not None:
        write_atomically(run.path(LAYOUT.outcome), outcome.to_text())
    learn(launch, outcome)
    return outcome


def concluded(launch: Launch, run: Run | None) -> Outcome | None:
    """Return how an attempt elsewhere ended, if that was found to be whole before."""
    if run is None or launch.attempt.launcher.works_here:  # a worker here writes the same file, unchecked
        return None
    file = run.path(LAYOUT.outcome)
    outcome = read_outcome(read_if_there(file), str(file), launch.attempt.number)
    return outcome if outcome is not None and launch.until in manifests(run) else None


def _refuse_unfinished(launch: Launch, run: Run | None, outcome: Outcome, standing: Standing) -> None:
    lacking = [] if run is None or launch.until in manifests(run) else [f"the results of {launch.until}"]
    for kind, repo in launch.publishes.items():
        commit = next((entry for entry in outcome.published if entry["repo"] == repo), None)
        if commit is None:
            lacking.append(f"a commit to {kind} {repo}")
            continue
        missing = missing_files(repo, kind, commit["revision"], WHOLE[kind])
        if missing is None:
            lacking.append(f"{kind} {repo} at {commit['revision'][:12]}")
        else:
            lacking += [f"{name} in {kind} {repo}" for name in missing]
    if lacking:
        raise LaunchError(
            f"{launch.id} says that it is done, but {lacking[0]} is missing"
            + (f", and {len(lacking) - 1} more" if len(lacking) > 1 else "")
            + ".",
            _where(launch, standing),
        )


def _failure(launch: Launch, standing: Standing, outcome: Outcome | None, log: str) -> LaunchError:
    why = outcome.error["message"] if outcome and outcome.error else standing.message or standing.stage
    words = f"\n{log}" if log and outcome is None else ""
    hint = outcome.error["hint"] if outcome and outcome.error else ""
    go_on = hint if "--resume" not in hint else ""
    return LaunchError(
        f"{launch.id} ended before it was done: {why}{words}", f"{go_on} {_where(launch, standing)}".strip()
    )


def _where(launch: Launch, standing: Standing) -> str:
    log = standing.url or f"hfembed logs {launch.id}"
    return f"Its log: {log}. To go on: hfembed run --resume {launch.id}"
