"""local: a process of its own on this machine, which outlives the terminal it was started from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from hfembed.errors import LaunchError
from hfembed.hardware import Hardware
from hfembed.hub import process_environment
from hfembed.hub.runs import RunRepo
from hfembed.launch.contract import Offer, Order, begin, begun
from hfembed.launch.home import home_name, note, settle
from hfembed.launch.keeper import bring_run
from hfembed.launch.record import (
    Launch,
    LauncherName,
    Outcome,
    Standing,
    read_if_there,
    read_outcome,
    this_machine,
    write_link,
)
from hfembed.resources import PACKAGE
from hfembed.run import LAYOUT, REPO_LAYOUT, Run

HERE = "this machine"
WORK = "work"
LOOK_SECONDS = 0.1
# A process that is asked to end keeps what is done first.
GRACE_SECONDS = 15.0


class Local:
    """Runs a command of this machine; everything that is remembered stands in the run's folder."""

    name = LauncherName.LOCAL

    def hardware(self) -> list[Hardware]:
        """Return this machine."""
        return [this_hardware()]

    def twin(self, order: Order) -> str | None:
        """Return the run's own folder, where a process works in it."""
        return str(order.run.folder) if order.run.is_busy() else None

    def submit(self, order: Order, offer: Offer) -> Launch:
        """Start the worker as the head of a session of its own."""
        run = order.run
        run.path(LAYOUT.outcome).unlink(missing_ok=True)
        launch = begin(order, offer, self.name, this_machine(), _kept_in(order))
        if launch.repo and order.again is None:
            repo = RunRepo(launch.repo)
            repo.create()
            settle(repo, order, launch)
        write_link(run, launch)  # the worker reads it
        launch = begun(launch, str(self._start(run, {**order.variables, **self.environment(order)})))
        write_link(run, launch)
        if launch.repo:
            note(RunRepo(launch.repo), launch)
        return launch

    def environment(self, order: Order) -> dict[str, str]:
        """Return what the process finds in its environment beside what stands here."""
        return {}

    def _start(self, run: Run, more: Mapping[str, str]) -> int:
        command = [sys.executable, "-m", "hfembed", WORK, "--folder", str(run.folder.resolve())]
        # Where it was started from may go away, and holds nothing that a name in the recipe should mean.
        with run.path(LAYOUT.launch_log).open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                cwd=run.folder, env={**process_environment(), **_import_path(), **more},
            )  # fmt: skip
        return process.pid

    def standing(self, launch: Launch, run: Run | None) -> Standing:
        """Look for the process and for what it wrote last."""
        attempt = launch.attempt
        if attempt.owner != this_machine():
            outcome = self.outcome(launch, run)
            if outcome is None:
                return Standing(stage="ELSEWHERE", is_over=False, message=f"It was begun on {attempt.owner}.")
            return _ended(outcome)
        alive = _is_alive(int(attempt.job), run)  # asked first: its last deed is then there to be read
        outcome = self.outcome(launch, run)
        if alive and outcome is None:
            return Standing(stage="RUNNING", is_over=False)
        if outcome is None:
            return Standing(stage="ERROR", is_over=True, message="Its process is gone, without a last word.")
        return _ended(outcome)

    def follow(self, launch: Launch, run: Run | None, *, wait: bool = True) -> Iterator[str]:
        """Yield the lines of its log file."""
        if run is None:
            raise LaunchError(f"The log of {launch.id} is on {launch.attempt.owner}, where it ran.")
        with run.path(LAYOUT.launch_log).open(encoding="utf-8", errors="replace") as log:
            rest = ""
            while True:
                over = not wait or self.standing(launch, run).is_over
                for line in log:
                    rest += line
                    if rest.endswith("\n"):
                        yield rest.rstrip("\n")
                        rest = ""
                if over:
                    return
                time.sleep(LOOK_SECONDS)

    def cancel(self, launch: Launch, run: Run | None) -> None:
        """Ask the process and all it started to end; insist when it does not."""
        if run is None or launch.attempt.owner != this_machine():
            raise LaunchError(f"{launch.id} runs on {launch.attempt.owner}; it can be cancelled there.")
        process = int(launch.attempt.job)
        deadline = time.monotonic() + GRACE_SECONDS
        number = signal.SIGTERM
        while _is_alive(process, run):
            try:
                os.killpg(process, number)
            except ProcessLookupError:
                return
            while _is_alive(process, run) and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
            number = signal.SIGKILL

    def delete(self, launch: Launch) -> bool:
        """Nothing is left of a process."""
        return False

    def outcome(self, launch: Launch, run: Run | None) -> Outcome | None:
        """Read it in the run's folder, or in its repo where it has one and the folder is not known."""
        if run is not None:
            file = run.path(LAYOUT.outcome)
            return read_outcome(read_if_there(file), str(file), launch.attempt.number)
        content = RunRepo(launch.repo).read(REPO_LAYOUT.outcome) if launch.repo else None
        return read_outcome(content, f"{launch.repo}/{REPO_LAYOUT.outcome}", launch.attempt.number)

    def bring(self, launch: Launch, run: Run) -> None:
        """Nothing is to be brought from here; what an attempt elsewhere kept is."""
        if launch.repo and not run.path(LAYOUT.outcome).is_file():
            bring_run(RunRepo(launch.repo), run)


def this_hardware() -> Hardware:
    """Return what this machine has."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Hardware("local", HERE, cpus, pages * size / 1e9)


def _kept_in(order: Order) -> str | None:
    if order.again is not None:
        return order.again.repo
    return home_name(str(order.owner), order.id) if order.keep else None


def _import_path() -> dict[str, str]:
    """Return the variable by which a process finds this very hfembed, installed or not."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]))}


def _ended(outcome: Outcome) -> Standing:
    message = outcome.error["message"] if outcome.error else ""
    return Standing(stage="ERROR" if outcome.error else "COMPLETED", is_over=True, message=message)


def _is_alive(process: int, run: Run | None) -> bool:
    """Tell whether a process still works on this run, and is no later one of its number.

    Where the run's folder is not known, that it works on some run has to do.
    """
    try:
        status = Path(f"/proc/{process}/stat")
        if not Path("/proc/self").exists():
            os.kill(process, 0)
            return True
        command = Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace")
        is_zombie = status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
        return not is_zombie and (str(run.folder.resolve()) if run else WORK) in command.split("\0")
    except OSError:
        return False
