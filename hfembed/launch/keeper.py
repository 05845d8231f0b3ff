"""Keeper: brings what a run has made to its repo, so that a machine that goes away takes little with it."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from hfembed.errors import HubError
from hfembed.events import Event, Reporter
from hfembed.hub.runs import RunRepo
from hfembed.pipeline import manifests
from hfembed.run import LAYOUT, MANIFEST, REPO_LAYOUT, Run, make_folder

# What belongs to the machine and not to the run.
LEFT_OUT = (
    LAYOUT.recipe,
    LAYOUT.launch,
    LAYOUT.launch_log,
    LAYOUT.outcome,
    REPO_LAYOUT.inputs,
)
State = dict[str, tuple[int, int]]


def run_files(run: Run) -> dict[str, Path]:
    """Return every file of a run that travels, by its path in the repo."""
    found = {}
    for file in sorted(run.folder.rglob("*")):
        name = file.relative_to(run.folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.is_file() and not hidden and name.parts[0] not in LEFT_OUT:
            found[f"{REPO_LAYOUT.run}/{name.as_posix()}"] = file
    return found


class Keeper:
    """Commits what changed in a run's folder: every so often, after each stage, and when it is told to.

    A Hub that cannot be reached does not stop the run; what it missed it is given the next time.
    """

    def __init__(self, run: Run, repo: RunRepo, seconds: float, report: Reporter) -> None:
        """Keep `run` in `repo`; at least every `seconds`. What the repo holds now is what the run holds."""
        self._run, self._repo, self._seconds, self._report = run, repo, seconds, report
        self._kept = self._state()
        self._due, self._ended = threading.Event(), threading.Event()
        self._saving = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def __call__(self, event: Event) -> None:
        """Hear of a stage that is done: it is kept at once."""
        if event.kind == "done":
            self._due.set()

    def __enter__(self) -> Self:
        """Begin to keep."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop keeping; what is on its way arrives first."""
        self._ended.set()
        self._due.set()
        self._thread.join()

    def save(self, others: Mapping[str, bytes] | None = None, message: str = "Keep what is done") -> None:
        """Commit what changed since the last time, and `others` with it."""
        with self._saving, tempfile.TemporaryDirectory(prefix="hfembed-keep-") as work:
            state = self._state()
            changed = [name for name in state if state[name] != self._kept.get(name)]
            # Copied first: a file that grows while it is sent would be refused. What says how much of another file
            # counts is small and comes first, so that it never promises more than is there.
            files = _copy(self._run, sorted(changed, key=lambda name: state[name][0]), Path(work))
            gone = sorted(set(self._kept) - set(state))
            if files or gone or others:
                self._repo.commit({**files, **(others or {})}, gone, message)
            self._kept = {name: mark for name, mark in state.items() if name in files or name not in changed}

    def _keep(self) -> None:
        while not self._ended.is_set():
            self._due.wait(self._seconds)
            self._due.clear()
            if self._ended.is_set():
                return
            try:
                self.save()
            except HubError as error:
                self._report.note(f"not kept yet: {error.message}")

    def _state(self) -> State:
        state: State = {}
        for name, file in run_files(self._run).items():
            try:
                status = file.stat()
            except FileNotFoundError:
                continue  # a stage has just replaced it
            state[name] = (status.st_size, status.st_mtime_ns)
        return state


def kept_stages(repo: RunRepo) -> set[str]:
    """Return the stages that are done, as a repo keeps them."""
    with tempfile.TemporaryDirectory(prefix="hfembed-stages-") as work:
        repo.download(Path(work), [f"{REPO_LAYOUT.run}/*/{MANIFEST}"])
        return set(manifests(Run(Path(work) / REPO_LAYOUT.run)))


def bring_run(repo: RunRepo, run: Run) -> None:
    """Put what a repo holds of a run in place of what its folder here holds; the recipe here stays."""
    make_folder(run.folder)
    with run.locked(), tempfile.TemporaryDirectory(dir=run.folder, prefix=".bring-") as work:
        repo.download(Path(work), [f"{REPO_LAYOUT.run}/**"])
        came = Path(work) / REPO_LAYOUT.run
        for entry in sorted(came.iterdir()) if came.is_dir() else ():
            target = run.path(entry.name)
            if target.is_dir():
                target.rename(Path(work) / f"{entry.name}.old")
            entry.replace(target)


def _copy(run: Run, names: list[str], work: Path) -> dict[str, Path]:
    copies = {}
    for number, name in enumerate(names):
        try:
            copies[name] = Path(shutil.copyfile(run.path(name.removeprefix(f"{REPO_LAYOUT.run}/")), work / str(number)))
        except FileNotFoundError:
            continue  # the next time what replaced it is kept
    return copies
