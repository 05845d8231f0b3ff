"""Launches: every run is a process of its own that goes on when the browser or the Space is closed."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from hfembed.corpus import SAMPLE
from hfembed.errors import RunBusyError
from hfembed.run import write_json

from .form import CorpusChoice, Form, check_form, corpus_label
from .settings import Settings, run_environment
from .uploads import keep_uploads

LAST_STAGE = "export"
_starting = threading.Lock()


class Status(StrEnum):
    """How a launch stands."""

    WORKING = "working"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class Order:
    """What was asked for, in the visitor's words, and the command that does it."""

    corpus: str
    base: str
    preset: str
    command: list[str]


class Launch:
    """One launched run and the files around it; `run` itself belongs to hfembed alone."""

    def __init__(self, folder: Path) -> None:
        """Address the launch in `folder`."""
        self.folder = folder
        self.run = folder / "run"
        self.uploads = folder / "uploads"
        self.order_file = folder / "order.json"
        self.process_file = folder / "process.json"
        self.cancelled_file = folder / "cancelled"
        self.result_file = folder / "result.json"
        self.words_file = folder / "words.log"

    @property
    def order(self) -> Order:
        """What was asked for."""
        return Order(**_read(self.order_file))


def launches(visitor: Path) -> list[Launch]:
    """Return a visitor's launches, newest first."""
    return [Launch(file.parent) for file in sorted(visitor.glob("*/order.json"), reverse=True)]


def latest(visitor: Path) -> Launch | None:
    """Return a visitor's newest launch."""
    return next(iter(launches(visitor)), None)


def latest_finished(visitor: Path) -> Launch | None:
    """Return a visitor's newest launch that came to its end."""
    return next((launch for launch in launches(visitor) if status(launch) is Status.FINISHED), None)


def start(form: Form, visitor: Path, settings: Settings) -> Launch:
    """Launch a run for a visitor.

    Raises InputError when the form is not complete, RunBusyError while another run of this visitor works.
    """
    check_form(form, settings)
    with _starting:
        before = latest(visitor)
        if before is not None and status(before) is Status.WORKING:
            raise RunBusyError("Your run is still working.", "Wait for it, or cancel it.")
        launch = Launch(visitor / f"{time.time_ns():020d}-{secrets.token_hex(4)}")
        launch.folder.mkdir(parents=True, mode=0o700)
        order = Order(corpus_label(form), form.base, form.preset, _command(form, launch, settings))
        write_json(launch.order_file, asdict(order))
        _spawn(launch)
    return launch


def resume(launch: Launch) -> None:
    """Go on where a cancelled or failed run stopped; finished stages are kept."""
    with _starting:
        if status(launch) is not Status.WORKING:
            launch.cancelled_file.unlink(missing_ok=True)
            _spawn(launch)


def cancel(launch: Launch) -> None:
    """Stop a run and everything it started."""
    if status(launch) is not Status.WORKING:
        return
    launch.cancelled_file.touch()
    process = _read(launch.process_file)
    if _is_alive(process):
        os.killpg(process["pid"], signal.SIGTERM)
        _wait_for_end(process)


def status(launch: Launch) -> Status:
    """Return how a launch stands, from what lies on disk and whether its process lives."""
    if _is_alive(_read(launch.process_file)):
        return Status.WORKING
    if "verdict" in result(launch):
        return Status.FINISHED
    return Status.CANCELLED if launch.cancelled_file.exists() else Status.FAILED


def result(launch: Launch) -> dict[str, Any]:
    """Return the object that `hfembed run --format json` printed; empty while there is none."""
    return _read(launch.result_file)


def seconds(launch: Launch) -> float:
    """Return how long ago the process of a launch began."""
    return max(0.0, time.time() - float(_read(launch.process_file).get("started", time.time())))


def _command(form: Form, launch: Launch, settings: Settings) -> list[str]:
    if form.choice is CorpusChoice.UPLOAD:
        corpus = str(keep_uploads(form.files, launch.uploads))
    else:
        corpus = SAMPLE if form.choice is CorpusChoice.SAMPLE else form.dataset
    arguments = ["--preset", form.preset, "--corpus", corpus, "--base", form.base, "--run", str(launch.run)]
    changes = [part for change in settings.changes for part in ("--set", change)]
    return ["run", *arguments, "--until", LAST_STAGE, "--format", "json", *changes]


def _spawn(launch: Launch) -> None:
    # The working folder is the launch's own: no name a visitor types is a file of the Space there.
    with launch.result_file.open("wb") as out, launch.words_file.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "hfembed", *launch.order.command],
            cwd=launch.folder,
            env=run_environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=words,
            start_new_session=True,
        )
    created = psutil.Process(process.pid).create_time()
    write_json(launch.process_file, {"pid": process.pid, "created": created, "started": time.time()})
    threading.Thread(target=process.wait, daemon=True).start()  # so that no zombie is left behind


def _is_alive(process: dict[str, Any]) -> bool:
    if not process:
        return False
    try:
        found = psutil.Process(process["pid"])
        # A number is given again after a while: the time of birth tells one process from the next.
        return bool(found.create_time() == process["created"] and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _wait_for_end(process: dict[str, Any], patience: float = 5.0) -> None:
    try:
        psutil.Process(process["pid"]).wait(patience)
    except psutil.TimeoutExpired:
        os.killpg(process["pid"], signal.SIGKILL)
    except psutil.NoSuchProcess:
        return  # it ended by itself meanwhile


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}  # not written yet, or cut short when the process was killed
    return values if isinstance(values, dict) else {}
