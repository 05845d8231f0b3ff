"""Worker: what the process does that a run was sent to, as `python -m hfembed work`.

Every event goes to its standard output as a marked line. What is made is kept on the way in the run's repo, where it
has one; at the end an outcome is written that says what was pushed, or in words why nothing was.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from hfembed import __version__, pipeline
from hfembed.errors import HfembedError, LaunchError, RunError
from hfembed.events import Event, Events, Listener, Reporter
from hfembed.hub.runs import RunRepo
from hfembed.launch.inputs import unpack, with_inputs
from hfembed.launch.keeper import Keeper
from hfembed.launch.queue import QUEUE, turn
from hfembed.launch.record import Launch, Outcome, now, read_launch, read_link
from hfembed.launch.stream import Printer
from hfembed.recipe import Recipe, read_recipe
from hfembed.resources import PACKAGE
from hfembed.run import LAYOUT, REPO_LAYOUT, Run, make_folder, write_atomically
from hfembed.stage import describe_machine
from hfembed.summary import summarize
from hfembed.together import follow

BROUGHT = [f"{REPO_LAYOUT.run}/**", f"{REPO_LAYOUT.inputs}/**", REPO_LAYOUT.recipe, REPO_LAYOUT.launch]
ENDED = {signal.SIGTERM: "it was cancelled, or its machine was taken away", signal.SIGALRM: "its time was up"}
# A stage that is to end may finish what it has paid for, but machines that are taken away wait for nobody.
LAST_SECONDS, ONCE_MORE_SECONDS = 2.0, 0.5


class EndedError(LaunchError):
    """Raised in the middle of a stage when the run is to end."""


def do(name: str | None, folder: Path) -> int:
    """Do the run that a repo keeps, in a folder, or that stands in the folder; return 0 when it did all it was to do."""
    follow()  # where several processes train, all but the first do nothing else
    ending = _Ending()
    for number in ENDED:
        signal.signal(number, ending)
    printer = Printer()
    report = Reporter("launch", Events(listeners=[printer]))
    report.note(f"hfembed {__version__} of {PACKAGE}")
    try:
        launch, recipe, run = bring(RunRepo(name, report), folder, report) if name else _stand(folder)
        code = work(launch, recipe, run, printer)
    except HfembedError as error:  # there is nowhere to write it down but in the log
        printer(Event("failed", "launch", f"{error.message} {error.hint}".strip()))
        code = 1
    if ending.came:
        os._exit(code)  # threads that wait for an answer would keep the process alive, and its machine paid for
    return code


def bring(repo: RunRepo, folder: Path, report: Reporter) -> tuple[Launch, Recipe, Run]:
    """Bring a run from its repo into a folder: what was done of it, its inputs, its recipe."""
    report.note("fetching inputs and what is done already")
    make_folder(folder)
    repo.download(folder, BROUGHT)
    launch = read_launch((folder / REPO_LAYOUT.launch).read_bytes(), f"{repo.name}/{REPO_LAYOUT.launch}")
    unpack(launch.inputs, folder)
    run = Run(folder / REPO_LAYOUT.run)
    make_folder(run.folder)
    recipe = with_inputs(read_recipe(folder / REPO_LAYOUT.recipe), launch.inputs, folder)
    run.write_recipe(recipe)
    return launch, recipe, run


def work(launch: Launch, recipe: Recipe, run: Run, printer: Listener) -> int:
    """Do what is not done yet, keep it on the way, and write down how it ended."""
    listeners: list[Listener] = [printer]
    report = Reporter("launch", Events(listeners=listeners))
    repo = RunRepo(launch.repo, report) if launch.repo else None
    seconds: dict[str, float] = {}
    listeners.append(_stopwatch(seconds))
    started, error = time.monotonic(), None
    with ExitStack() as stack:
        keeper = stack.enter_context(Keeper(run, repo, recipe.train.checkpoint_seconds, report)) if repo else None
        listeners += [keeper] if keeper else []
        try:
            with turn(Reporter(QUEUE, Events(listeners=[printer]))), _ending_after(_own_limit(launch)):
                if launch.alone:
                    pipeline.run_stage(launch.until, recipe, run, listeners=listeners)
                else:
                    pipeline.run(recipe, run, until=launch.until, rerun=_rerun(launch, run), listeners=listeners)
        except HfembedError as problem:
            error = problem.to_json()
        except Exception as problem:
            traceback.print_exc()  # a bug of ours; where it is stands in the log alone
            error = {"type": type(problem).__name__, "message": str(problem) or type(problem).__name__, "hint": ""}
    outcome = _outcome(launch, run, seconds, time.monotonic() - started, error)
    try:
        if keeper:
            keeper.save({REPO_LAYOUT.outcome: outcome.to_text().encode()}, "Keep how it ended")
    finally:
        write_atomically(run.path(LAYOUT.outcome), outcome.to_text())
    printer(Event("note", "launch", error["message"] if error else "all is done"))
    return 1 if error else 0


def _rerun(launch: Launch, run: Run) -> str | None:
    """Return the stage to begin anew at: the first that no attempt has made anew yet."""
    if launch.rerun is None:
        return None
    done, began = pipeline.manifests(run), launch.attempts[0].submitted
    names = pipeline.NAMES[pipeline.NAMES.index(launch.rerun) : pipeline.NAMES.index(launch.until) + 1]
    return next((name for name in names if name not in done or done[name].finished < began), None)


def _stand(folder: Path) -> tuple[Launch, Recipe, Run]:
    run = Run.open(folder)
    launch = read_link(run)
    if launch is None:
        raise RunError(f"'{folder}' was not sent anywhere: it holds no {LAYOUT.launch}.", f"hfembed run --run {folder}")
    return launch, run.recipe(), run


def _own_limit(launch: Launch) -> int | None:
    """Return after how many seconds the worker ends itself: where nobody else does."""
    return launch.attempt.seconds if launch.attempt.launcher.works_here else None


def _stopwatch(seconds: dict[str, float]) -> Listener:
    def listen(event: Event) -> None:
        if event.kind == "done":
            seconds[event.stage] = event.seconds

    return listen


def _outcome(
    launch: Launch, run: Run, stages: dict[str, float], seconds: float, error: dict[str, str] | None
) -> Outcome:
    summary = summarize(run)
    return Outcome(
        attempt=launch.attempt.number,
        error=error,
        seconds=round(seconds, 3),
        stages=stages,
        verdict=summary["verdict"],
        published=summary["published"],
        machine=describe_machine(),
        finished=now(),
    )


@contextmanager
def _ending_after(seconds: int | None) -> Iterator[None]:
    """End the run when its time is up, where nobody else does."""
    signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class _Ending:
    """Ends the run when a signal says so; what then still waits for something is interrupted again."""

    def __init__(self) -> None:
        self._reason = ""

    @property
    def came(self) -> bool:
        """Tell whether the run was to end."""
        return bool(self._reason)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Interrupt what is being done."""
        seconds = ONCE_MORE_SECONDS if self._reason else LAST_SECONDS
        self._reason = self._reason or ENDED[signal.Signals(number)]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # asking twice does not help
        signal.setitimer(signal.ITIMER_REAL, seconds)
        raise EndedError(f"The run ended before it was done: {self._reason}.", "hfembed run --resume RUN")
