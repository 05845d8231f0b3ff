"""Runs that share a machine take turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfembed.errors import InputError
from hfembed.events import Event, Events, Reporter, silent
from hfembed.launch.queue import FOLDER, SLOTS, tickets, turn

WORKER = """
import sys, time
from pathlib import Path
from hfembed.events import silent
from hfembed.launch.queue import turn
with turn(silent()):
    print("works", flush=True)
    sys.stdin.readline()
"""


def worker(folder: Path) -> subprocess.Popen[str]:
    """Start a process that works when its turn comes, until it is told to end."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER], env={**os.environ, FOLDER: str(folder)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def wait_until(count: int, folder: Path) -> None:
    deadline = time.monotonic() + 30
    while len(tickets(folder)) != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_where_there_is_no_queue_nobody_waits():
    with turn(silent(), {}):
        pass


def test_who_comes_later_waits_and_is_told_how_many_are_before(tmp_path: Path):
    first = worker(tmp_path)
    assert first.stdout is not None and first.stdout.readline() == "works\n"
    heard: list[Event] = []
    ended: list[float] = []

    def listen(event: Event) -> None:
        heard.append(event)
        if not ended:
            first.communicate("\n", timeout=30)
            ended.append(time.monotonic())

    with turn(Reporter("launch", Events(listeners=[listen])), {FOLDER: str(tmp_path)}):
        began = time.monotonic()
        assert len(tickets(tmp_path)) == 1
    assert heard[0].message == "waiting for its turn: 1 run is before it"
    assert heard[-1].message == "its turn has come"
    assert began >= ended[0]
    assert tickets(tmp_path) == []


def test_a_run_that_is_killed_makes_room(tmp_path: Path):
    first = worker(tmp_path)
    assert first.stdout is not None and first.stdout.readline() == "works\n"
    first.kill()
    first.communicate(timeout=30)
    with turn(silent(), {FOLDER: str(tmp_path)}):
        assert len(tickets(tmp_path)) == 1


def test_as_many_work_at_once_as_there_is_room_for(tmp_path: Path):
    first = worker(tmp_path)
    wait_until(1, tmp_path)
    with turn(silent(), {FOLDER: str(tmp_path), SLOTS: "2"}):
        assert len(tickets(tmp_path)) == 2
    first.communicate("\n", timeout=30)


def test_a_number_of_places_that_is_none_is_refused(tmp_path: Path):
    with (
        pytest.raises(InputError, match="HFEMBED_QUEUE_SLOTS is 'none'"),
        turn(silent(), {FOLDER: str(tmp_path), SLOTS: "none"}),
    ):
        pass
