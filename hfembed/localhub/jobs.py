"""Jobs: commands that run on this machine, each in a folder of its own."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any

from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import now
from hfembed.localhub.errors import RefusalError, bad_request, forbidden
from hfembed.localhub.jobspec import attempts_of, bring_volumes, find_volumes, timeout_of, with_places
from hfembed.localhub.processes import base_environment, end_process, is_alive, read_result, start_process
from hfembed.localhub.sealing import seal_all, unseal_all
from hfembed.localhub.site import Site

TERMINAL = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
_log = logging.getLogger(__name__)
# Held while a job passes from waiting to running, so that a cancel comes before or after, not between.
_starting = threading.Lock()


def folder_of(site: Site, job: str) -> Path:
    """Return the folder of a job: its work, its volumes, its log, its result."""
    return site.root / "jobs" / job


def check_jobs(site: Site, owner: str, user: Visitor) -> None:
    """Refuse those who may not run jobs for a namespace."""
    if not site.jobs_allowed:
        raise forbidden("Jobs are turned off on this server, because it listens beyond this machine.")
    user.check_scopes("jobs")
    if not user.may_write(owner, ""):
        raise forbidden(f"You don't have the rights to run jobs for {owner} with this token.")


def start_job(
    site: Site,
    owner: str,
    spec: dict[str, Any],
    endpoint: str,
    initiator: dict[str, str],
    scheduled: str | None = None,
) -> str:
    """Accept a job and return its id; it starts at once, but what it needs is brought first.

    `endpoint` is where the job finds this Hub, `initiator` what caused it.
    """
    job = uuid.uuid4().hex[:24]
    secrets = {str(key): str(value) for key, value in (spec.get("secrets") or {}).items()}
    public = {key: value for key, value in spec.items() if key != "secrets"} | {"initiator": initiator}
    (folder_of(site, job) / "work").mkdir(parents=True, mode=0o700)
    with site.database.transaction():
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
        site.database.run("INSERT INTO job_secrets VALUES (?, ?)", job, seal_all(site.root, secrets))
    thread = threading.Thread(target=_launch, args=(site, job, public, secrets, endpoint), name=f"job-{job}")
    site.launches[job] = thread
    thread.start()
    return job


def _launch(site: Site, job: str, spec: dict[str, Any], secrets: dict[str, str], endpoint: str) -> None:
    """Bring what a waiting job needs and start it."""
    try:
        folder = folder_of(site, job)
        places = bring_volumes(site, find_volumes(site, spec), folder / "volumes")
        command = [with_places(part, places) for part in [*spec["command"], *(spec.get("arguments") or [])]]
        given = {str(key): with_places(str(value), places) for key, value in (spec.get("environment") or {}).items()}
        environment = base_environment(folder, endpoint, spec.get("flavor", "cpu-basic")) | {"JOB_ID": job}
        with _starting:
            if _stage(site, job) == "SCHEDULING":
                process = start_process(
                    folder,
                    command,
                    environment | given | secrets,
                    timeout=timeout_of(spec),
                    attempts=attempts_of(spec),
                )
                _note_start(site, job, process)
    except Exception as error:
        # Whatever kept it from starting, nobody waits for it in vain.
        message = error.message if isinstance(error, RefusalError) else f"The job could not be started: {error}"
        if not isinstance(error, RefusalError):
            _log.exception("The job %s could not be started", job)
        _finish(site, job, {"stage": "ERROR", "message": message, "finished_at": now()})
    finally:
        site.launches.pop(job, None)


def _note_start(site: Site, job: str, process: subprocess.Popen[bytes]) -> None:
    site.processes[job] = process
    site.database.run(
        "UPDATE jobs SET stage = 'RUNNING', process = ?, started_at = ? WHERE id = ?", process.pid, now(), job
    )


def _stage(site: Site, job: str) -> str:
    row = site.database.row("SELECT stage FROM jobs WHERE id = ?", job)
    return str(row["stage"]) if row else "DELETED"


def spec_of(site: Site, row: sqlite3.Row) -> dict[str, Any]:
    """Return what a job was asked to do, with its secrets, so that it can be asked again."""
    secrets = site.database.row("SELECT sealed FROM job_secrets WHERE job = ?", row["id"])
    spec = {key: value for key, value in json.loads(row["spec"]).items() if key != "initiator"}
    return spec | {"secrets": unseal_all(site.root, secrets["sealed"]) if secrets else {}}


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
    # Asked first: what it leaves as its last deed is then there to be read.
    gone = process.poll() is not None if process else not is_alive(row["process"], job)
    result = read_result(folder_of(site, job))
    if result is not None:
        _finish(site, job, result)
    elif gone:
        was_cancelled = (folder_of(site, job) / "cancelled").exists()
        stage, message = ("CANCELED", None) if was_cancelled else ("ERROR", "The job's process was lost.")
        _finish(site, job, {"stage": stage, "message": message, "finished_at": now()})


def _finish(site: Site, job: str, result: dict[str, Any]) -> None:
    site.database.run(
        "UPDATE jobs SET stage = ?, message = ?, exit_code = ?, finished_at = ? "
        "WHERE id = ? AND stage IN ('RUNNING', 'SCHEDULING')",
        result["stage"],
        result["message"],
        result.get("exit_code"),
        result["finished_at"],
        job,
    )
    process = site.processes.pop(job, None)
    if process is not None:
        process.wait()
    for name in ("work", "volumes"):
        shutil.rmtree(folder_of(site, job) / name, ignore_errors=True)


def cancel_job(site: Site, row: sqlite3.Row) -> None:
    """End a job: one that waits is not started, one that runs is asked to end."""
    job = row["id"]
    with _starting:
        if _stage(site, job) == "SCHEDULING":
            _finish(site, job, {"stage": "CANCELED", "message": None, "finished_at": now()})
            return
    row = find_job(site, row["owner"], job)
    if row["stage"] in TERMINAL:
        raise bad_request(f"The job is over already: {row['stage']}.")
    # The note comes first: a process that ends before it can say why is then known to be cancelled.
    (folder_of(site, job) / "cancelled").touch()
    end_process(site.processes.get(job), row["process"], job)


def recover_jobs(site: Site) -> None:
    """Give up the jobs that an earlier, killed server had accepted and not started."""
    for row in site.database.rows("SELECT id FROM jobs WHERE stage = 'SCHEDULING'"):
        message = "The server ended before the job was started."
        _finish(site, row["id"], {"stage": "ERROR", "message": message, "finished_at": now()})


def stop_jobs(site: Site) -> None:
    """End the jobs that this server started, when it stops of its own accord."""
    for thread in list(site.launches.values()):
        thread.join()
    for process in site.processes.values():
        process.terminate()
    for process in site.processes.values():
        process.wait()
    for row in site.database.rows("SELECT id FROM jobs WHERE stage = 'RUNNING'"):
        _refresh(site, row["id"])
