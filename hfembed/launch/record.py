"""What is kept of a run that was sent somewhere: in its repo on the Hub, or in its folder here."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hfembed.errors import RunError
from hfembed.launch.workload import Workload
from hfembed.run import LAYOUT, Run, write_atomically

REPO_PREFIX = "hfembed-run-"
# Hex digits of the recipe's hash that an id ends with.
ID_DIGITS = 6


class LauncherName(StrEnum):
    """Where a run executes."""

    LOCAL = "local"
    JOBS = "jobs"
    SPACE = "space"
    AUTOTRAIN = "autotrain"

    @property
    def works_here(self) -> bool:
        """Tell whether a process of this machine does the run, and its folder here keeps it."""
        return self in (LauncherName.LOCAL, LauncherName.AUTOTRAIN)


class Entry(BaseModel):
    """Something that is written down; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Expected(Entry):
    """How long a run was thought to take, and what it was thought to cost.

    seconds: the likeliest; low and high: where it ends most of the time. memory: in GB, of the GPU where there is one.
    stages: seconds by stage. dollars: nothing where no money is asked. ratio: what earlier runs there had taught by then.
    """

    seconds: float
    low: float
    high: float
    memory: float
    stages: dict[str, float]
    dollars: float | None = None
    ratio: float = 1.0


class Attempt(Entry):
    """One time that a run was sent somewhere.

    job: the job's id, or the process's number. owner: who pays for the job, or the machine of the process.
    seconds: after how many it is ended.
    """

    number: int
    launcher: LauncherName
    flavor: str
    job: str
    owner: str
    seconds: int | None
    submitted: str
    expected: Expected
    hfembed: str


class Sent(Entry):
    """An input that was on this machine: the recipe's key, the name it goes by, and whether it is one archive."""

    key: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")
    name: str = Field(pattern=r"^[^/]*[^/.][^/]*$")  # a folder or a file, and no way out of where it is put
    packed: bool


class Launch(Entry):
    """A run that was sent somewhere, with every attempt at it; the last one counts.

    alone: the last stage is done from what lies in the run, and nothing before it is looked at again.
    repo: where on the Hub it is kept; nothing for one that never left this machine. load and extras: what it weighs
    and which libraries it needs, so that it can be sent on from anywhere.
    """

    id: str
    name: str
    repo: str | None
    recipe_hash: str
    until: str
    rerun: str | None
    publishes: dict[str, str]
    inputs: list[Sent]
    load: Workload
    extras: list[str]
    attempts: list[Attempt]
    alone: bool = False

    @property
    def attempt(self) -> Attempt:
        """The last attempt."""
        return self.attempts[-1]

    def to_text(self) -> str:
        """Return what is written down."""
        return self.model_dump_json(indent=2) + "\n"


class Outcome(Entry):
    """How an attempt ended, in its own words; written last.

    error: type, message and hint; nothing where it did all it was to do. stages: seconds of those done in this
    attempt. published: repo, kind and revision of every commit.
    """

    attempt: int
    error: dict[str, str] | None
    seconds: float
    stages: dict[str, float]
    verdict: str | None
    published: list[dict[str, Any]]
    machine: str
    finished: str

    def to_text(self) -> str:
        """Return what is written down."""
        return self.model_dump_json(indent=2) + "\n"


class Standing(Entry):
    """How an attempt stands: waiting, running or over, in words; and where to look."""

    stage: str
    is_over: bool
    is_waiting: bool = False
    message: str = ""
    url: str | None = None


def new_id(recipe_hash: str) -> str:
    """Return an id that sorts by time and tells recipes apart."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{recipe_hash[:ID_DIGITS]}"


def now() -> str:
    """Return the time as it is written down."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def this_machine() -> str:
    """Return the name that a process here is known by; a Space keeps its own through every restart."""
    return os.environ.get("SPACE_ID") or socket.gethostname()


def write_link(run: Run, launch: Launch) -> None:
    """Remember in a run's folder where it was sent."""
    write_atomically(run.path(LAYOUT.launch), launch.to_text())


def read_link(run: Run) -> Launch | None:
    """Return where the run of a folder was sent, if it was."""
    file = run.path(LAYOUT.launch)
    return read_launch(file.read_bytes(), str(file)) if file.is_file() else None


def read_launch(content: bytes, where: str) -> Launch:
    """Return a launch from what was written down."""
    try:
        return Launch.model_validate_json(content)
    except ValidationError as error:
        raise _damaged(where, error) from None


def read_outcome(content: bytes | None, where: str, attempt: int) -> Outcome | None:
    """Return how an attempt ended, from what was written down; nothing where that is of an earlier one."""
    if content is None:
        return None
    try:
        found = Outcome.model_validate_json(content)
    except ValidationError as error:
        raise _damaged(where, error) from None
    return found if found.attempt == attempt else None


def read_if_there(file: Path) -> bytes | None:
    """Return a file's bytes, if there is one."""
    return file.read_bytes() if file.is_file() else None


def _damaged(where: str, error: ValidationError) -> RunError:
    problem = error.errors()[0]
    key = ".".join(map(str, problem["loc"]))
    return RunError(
        f"'{where}' cannot be read: {key}: {problem['msg']}.", "It was written by another version, or is damaged."
    )
