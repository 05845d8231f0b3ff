"""Jobs: commands that run on this machine, each in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import now
from hfembed.localhub.errors import RefusalError, bad_request, forbidden
from hfembed.localhub.hardware import HARDWARE, JOB_HARDWARE
from hfembed.localhub.site import Site

_DEFAULT_TIMEOUT = 30 * 60
TERMINAL = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
_UNSUPPORTED = ("volumes", "expose", "ssh", "network")
# What a job sees of the server's own environment.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def folder_of(site: Site, job: str) -> Path:
    """Return the folder of a job: its work, its log, its result."""
    return site.root / "jobs" / job


def check_spec(spec: dict[str, Any]) -> None:
    """Refuse a job that could not run here as asked."""
    command = [*(spec.get("command") or []), *(spec.get("arguments") or [])]
    if not command or not all(isinstance(part, str) for part in command):
        raise bad_request('"command" must be a list of at least one string')
    if spec.get("flavor", "cpu-basic") not in JOB_HARDWARE:
        raise bad_request(f'"flavor" must be one of [{", ".join(JOB_HARDWARE)}]; got {spec.get("flavor")!r}')
    if not spec.get("dockerImage") and not spec.get("spaceId"):
        raise bad_request('"dockerImage" or "spaceId" is required')
    for name in _UNSUPPORTED:
        if spec.get(name):
            raise bad_request(f'"{name}" is not supported by the local Hub: its jobs run as plain processes.')


def check_jobs(site: Site, owner: str, user: Visitor) -> None:
    """Refuse those who may not run jobs for a namespace."""
    if not site.jobs_allowed:
        raise forbidden("Jobs are turned off on this server, because it listens beyond this machine.")
    if not user.may_write(owner, ""):
        raise forbidden(f"You don't have the rights to run jobs for {owner} with this token.")


def start_job(site: Site, owner: str, spec: dict[str, Any], endpoint: str, scheduled: str | None = None) -> str:
    """Start a job and return its id; `endpoint` is where the job finds this Hub."""
    job = uuid.uuid4().hex[:24]
    secrets = {str(key): str(value) for key, value in (spec.get("secrets") or {}).items()}
    public = {key: value for key, value in spec.items() if key != "secrets"}
    site.database.run(
        "INSERT INTO jobs (id, owner, stage, spec, secrets, created_at, scheduled) VALUES (?, ?, ?, ?, ?, ?, ?)",
        job,
        owner,
        "SCHEDULING",
        json.dumps(public),
        json.dumps(sorted(secrets)),
        now(),
        scheduled,
    )
    folder = folder_of(site, job)
    (folder / "work").mkdir(parents=True, mode=0o700)
    order = {
        "command": [*spec["command"], *(spec.get("arguments") or [])],
        "environment": _environment(job, folder, spec, secrets, endpoint),
        "timeout": spec.get("timeoutSeconds") or _DEFAULT_TIMEOUT,
    }
    descriptor = os.open(folder / "order.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(order, stream)
    process = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("jobprocess.py")), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "supervisor.log").open("wb"),
        start_new_session=True,
        env={"PATH": os.environ.get("PATH", "")},
    )
    site.processes[job] = process
    site.database.run(
        "UPDATE jobs SET stage = 'RUNNING', process = ?, started_at = ? WHERE id = ?", process.pid, now(), job
    )
    return job


def _environment(
    job: str, folder: Path, spec: dict[str, Any], secrets: dict[str, str], endpoint: str
) -> dict[str, str]:
    """Return the whole environment of a job: nothing of the server's own leaks in."""
    hardware = next(item for item in HARDWARE if item["name"] == spec.get("flavor", "cpu-basic"))
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # `python` is the one the server runs with, so that a job finds the same libraries.
    inherited["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}"
    facts = {
        "HOME": str(folder / "work"),
        "HF_ENDPOINT": endpoint,
        "JOB_ID": job,
        "ACCELERATOR": str((hardware["accelerator"] or {}).get("model", "none")),
        "CPU_CORES": hardware["cpu"].split()[0],
        "MEMORY": hardware["ram"].replace(" ", ""),
        "PYTHONUNBUFFERED": "1",
    }
    given = {str(key): str(value) for key, value in (spec.get("environment") or {}).items()}
    return inherited | facts | given | secrets


def find_job(site: Site, owner: str, job: str) -> sqlite3.Row:
    """Return a job as it stands now."""
    _refresh(site, job)
    row = site.database.row("SELECT * FROM jobs WHERE id = ? AND owner = ?", job, owner)
    if row is None:
        raise RefusalError(404, "Job not found")
    return row


def list_jobs(site: Site, owner: str) -> list[sqlite3.Row]:
    """Return the jobs of a namespace as they stand now, newest first."""
    for row in site.database.rows("SELECT id FROM jobs WHERE owner = ? AND finished_at IS NULL", owner):
        _refresh(site, row["id"])
    return site.database.rows("SELECT * FROM jobs WHERE owner = ? ORDER BY created_at DESC, rowid DESC", owner)


def _refresh(site: Site, job: str) -> None:
    """Take over what the process of a job has left, or notice that it is gone."""
    row = site.database.row("SELECT process FROM jobs WHERE id = ? AND stage = 'RUNNING'", job)
    if row is None:
        return
    process = site.processes.get(job)
    gone = process.poll() is not None if process else not _is_alive(row["process"], job)
    result = folder_of(site, job) / "result.json"
    if result.exists():
        _finish(site, job, json.loads(result.read_text(encoding="utf-8")))
    elif gone:
        was_cancelled = (folder_of(site, job) / "cancelled").exists()
        stage, message = ("CANCELED", None) if was_cancelled else ("ERROR", "The job's process was lost.")
        _finish(site, job, {"stage": stage, "message": message, "finished_at": now()})


def _is_alive(process: int, job: str) -> bool:
    """Tell whether a process is still the one that looks after a job, and not a later one of its number."""
    try:
        if not Path("/proc/self").exists():
            os.kill(process, 0)
            return True
        return job in Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _finish(site: Site, job: str, result: dict[str, Any]) -> None:
    site.database.run(
        "UPDATE jobs SET stage = ?, message = ?, exit_code = ?, finished_at = ? WHERE id = ? AND stage = 'RUNNING'",
        result["stage"],
        result["message"],
        result.get("exit_code"),
        result["finished_at"],
        job,
    )
    process = site.processes.pop(job, None)
    if process is not None:
        process.wait()
    shutil.rmtree(folder_of(site, job) / "work", ignore_errors=True)


def cancel_job(site: Site, row: sqlite3.Row) -> None:
    """Ask the process of a running job to end it."""
    if row["stage"] in TERMINAL:
        raise bad_request(f"The job is over already: {row['stage']}.")
    # The note comes first: a process that ends before it can say why is then known to be cancelled.
    (folder_of(site, row["id"]) / "cancelled").touch()
    process = site.processes.get(row["id"])
    if process is not None:
        process.terminate()
    elif _is_alive(row["process"], row["id"]):
        os.kill(row["process"], signal.SIGTERM)


def stop_jobs(site: Site) -> None:
    """End the jobs that this server started, when it stops of its own accord."""
    for process in site.processes.values():
        process.terminate()
    for process in site.processes.values():
        process.wait()
    for row in site.database.rows("SELECT id FROM jobs WHERE stage = 'RUNNING'"):
        _refresh(site, row["id"])
