"""The process that looks after one command: keeps its log, enforces its timeout, tries it again, notes its end.

It runs apart from the server and on the standard library alone, so a job outlives a server that is killed.
A Space's app must not: its order says that it ends with the server, which is known by the end of stdin.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_LOG_LIMIT = 64 << 20


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)


def _keep_log(output: IO[bytes], log: Path) -> None:
    """Write each line of the output with its time; past the limit lines are read and dropped."""
    with log.open("ab", buffering=0) as stream:
        for line in iter(output.readline, b""):
            if stream.tell() < _LOG_LIMIT:
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                stream.write(json.dumps({"data": text, "timestamp": _now()}).encode() + b"\n")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the command and everything it started: politely, then not."""
    for sign, patience in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def _wait(process: subprocess.Popen[bytes], end: float, cancelled: threading.Event) -> bool:
    """Wait for the command to end or a cancel to come; return False when the time is up."""
    while not cancelled.is_set() and time.monotonic() < end:
        try:
            process.wait(min(_LOOK_SECONDS, max(0.0, end - time.monotonic())))
            return True
        except subprocess.TimeoutExpired:
            continue
    return cancelled.is_set()


def _watch_server(gone: threading.Event) -> None:
    """Wait until the server, which holds the other end of stdin, is no more."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    gone.set()


def run_job(folder: Path) -> None:
    """Run the job whose order lies in a folder, and leave its log and its result there."""
    order_path = folder / "order.json"
    order = json.loads(order_path.read_text(encoding="utf-8"))
    # It holds the secrets; from here on they are only in the environment of the command.
    order_path.unlink()
    cancelled = threading.Event()
    # Set before the command starts: a cancel that comes earlier ends this process, and nothing has begun.
    signal.signal(signal.SIGTERM, lambda number, frame: cancelled.set())
    if order["ends_with_server"]:
        threading.Thread(target=_watch_server, args=(cancelled,), daemon=True).start()
    end = time.monotonic() + (order["timeout"] or float("inf"))
    for _attempt in range(order["attempts"]):
        result = _run_once(folder, order, end, cancelled)
        if result["stage"] != "ERROR" or time.monotonic() >= end:
            break
    _write_whole(folder / "result.json", result)


def _run_once(folder: Path, order: dict[str, Any], end: float, cancelled: threading.Event) -> dict[str, Any]:
    """Run the command of an order once and return how it ended."""
    try:
        process = subprocess.Popen(
            order["command"],
            cwd=folder / "work",
            env=order["environment"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        message = f"The command could not be started: {error}"
        return {"stage": "ERROR", "message": message, "exit_code": None, "finished_at": _now()}
    assert process.stdout is not None
    reader = threading.Thread(target=_keep_log, args=(process.stdout, folder / "log.jsonl"), daemon=True)
    reader.start()
    timed_out = not _wait(process, end, cancelled)
    # Also what the command left running in the background ends with it.
    _stop(process)
    reader.join(_GRACE_SECONDS)
    return _result(process.returncode, timed_out, cancelled.is_set())


def _result(exit_code: int | None, timed_out: bool, cancelled: bool) -> dict[str, Any]:
    stage, message = "COMPLETED", None
    if cancelled:
        stage = "CANCELED"
    elif timed_out:
        stage, message = "ERROR", "Job timeout"
    elif exit_code != 0:
        stage, message = "ERROR", f"Job failed with exit code: {exit_code}"
    return {"stage": stage, "message": message, "exit_code": exit_code, "finished_at": _now()}


if __name__ == "__main__":
    run_job(Path(sys.argv[1]))
