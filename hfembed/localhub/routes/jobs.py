"""Jobs and scheduled jobs."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from hfembed.localhub.access import JsonBody, TheSite, User, Writer, base_url
from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import now, stamp
from hfembed.localhub.errors import RefusalError, bad_request, forbidden
from hfembed.localhub.hardware import HARDWARE
from hfembed.localhub.jobs import (
    TERMINAL,
    cancel_job,
    check_jobs,
    check_spec,
    find_job,
    folder_of,
    list_jobs,
    start_job,
)
from hfembed.localhub.schedule import next_run, run_now
from hfembed.localhub.site import Site

router = APIRouter()
_POLL_SECONDS = 0.05
_KEEP_ALIVE_SECONDS = 30.0
_ONE = "/api/jobs/{owner}/{job}"
_SCHEDULED = "/api/scheduled-jobs/{owner}"
_ONE_SCHEDULED = _SCHEDULED + "/{scheduled}"


def _owner(site: Site, name: str) -> dict[str, Any]:
    row = site.database.row("SELECT id, name, kind FROM accounts WHERE name = ?", name)
    return (
        {"id": row["id"], "name": row["name"], "type": row["kind"]} if row else {"id": "", "name": name, "type": "user"}
    )


def _tell(site: Site, row: sqlite3.Row) -> dict[str, Any]:
    spec = json.loads(row["spec"])
    return {
        "type": "job",
        "id": row["id"],
        "createdAt": row["created_at"],
        "startedAt": row["started_at"],
        "finishedAt": row["finished_at"],
        **{key: spec.get(key) for key in ("dockerImage", "spaceId", "command", "arguments", "environment", "labels")},
        "flavor": spec.get("flavor", "cpu-basic"),
        "timeout": spec.get("timeoutSeconds"),
        "secrets": json.loads(row["secrets"]),
        "status": {"stage": row["stage"], "message": row["message"]},
        "exitCode": row["exit_code"],
        "owner": _owner(site, row["owner"]),
    }


def _check_reader(owner: str, user: Visitor) -> None:
    if not user.belongs_to(owner):
        raise forbidden(f"You don't have the rights to see the jobs of {owner}.")


@router.get("/api/jobs/hardware")
def hardware() -> list[dict[str, Any]]:
    """List the hardware that jobs may ask for, with prices; here all of it is this machine."""
    return HARDWARE


@router.post("/api/jobs/{owner}")
def create(request: Request, site: TheSite, user: Writer, owner: str, body: JsonBody) -> dict[str, Any]:
    """Start a job."""
    check_jobs(site, owner, user)
    check_spec(body)
    return _tell(site, find_job(site, owner, start_job(site, owner, body, base_url(request))))


@router.get("/api/jobs/{owner}")
def list_all(request: Request, site: TheSite, user: User, owner: str) -> list[dict[str, Any]]:
    """List the jobs of a namespace, newest first."""
    _check_reader(owner, user)
    stages, labels = (set(request.query_params.getlist(name)) for name in ("stage", "label"))
    told = [_tell(site, row) for row in list_jobs(site, owner)]
    return [
        job
        for job in told
        if (not stages or job["status"]["stage"] in stages)
        and labels <= {f"{key}={value}" for key, value in (job["labels"] or {}).items()}
    ]


@router.get(_ONE)
def inspect(site: TheSite, user: User, owner: str, job: str) -> dict[str, Any]:
    """Tell how a job stands."""
    _check_reader(owner, user)
    return _tell(site, find_job(site, owner, job))


@router.post(_ONE + "/cancel")
def cancel(site: TheSite, user: Writer, owner: str, job: str) -> dict[str, Any]:
    """End a job."""
    check_jobs(site, owner, user)
    cancel_job(site, find_job(site, owner, job))
    return _tell(site, find_job(site, owner, job))


@router.get(_ONE + "/logs")
def logs(site: TheSite, user: User, owner: str, job: str, tail: int | None = None) -> StreamingResponse:
    """Send the log of a job as it is written, until the job is over."""
    _check_reader(owner, user)
    find_job(site, owner, job)
    headers = {"Cache-Control": "no-cache"}
    return StreamingResponse(_log_events(site, owner, job, tail), 200, headers, "text/event-stream")


async def _log_events(site: Site, owner: str, job: str, tail: int | None) -> AsyncIterator[str]:
    path = folder_of(site, job) / "log.jsonl"
    row = await run_in_threadpool(find_job, site, owner, job)
    started = json.dumps({"data": f"===== Job started at {row['started_at']} =====", "timestamp": row["started_at"]})
    yield f"data: {started}\n\n"
    position, last_word, first_read = 0, time.monotonic(), True
    while True:
        # Whether it is over is asked first: what is read after that is all there is.
        row = await run_in_threadpool(find_job, site, owner, job)
        is_over = row["stage"] in TERMINAL
        lines, position = await run_in_threadpool(_read_lines, path, position)
        if first_read and tail is not None:
            lines = lines[max(0, len(lines) - tail) :]
        first_read = False
        for line in lines:
            yield f"data: {line}\n\n"
        if is_over and not lines:
            return
        if lines:
            last_word = time.monotonic()
        elif time.monotonic() - last_word > _KEEP_ALIVE_SECONDS:
            last_word = time.monotonic()
            yield ": keep-alive\n\n"
        await asyncio.sleep(_POLL_SECONDS)


def _read_lines(path: Any, position: int) -> tuple[list[str], int]:
    """Return the whole lines after a position, and the position after them."""
    if not path.exists():
        return [], position
    with path.open("rb") as stream:
        stream.seek(position)
        content = stream.read(1 << 20)
    whole = content[: content.rfind(b"\n") + 1]
    return whole.decode().splitlines(), position + len(whole)


def _tell_scheduled(site: Site, row: sqlite3.Row) -> dict[str, Any]:
    spec = json.loads(row["spec"])
    last = {"id": row["last_job"], "at": row["last_run_at"]} if row["last_job"] else None
    return {
        "id": row["id"],
        "createdAt": row["created_at"],
        "schedule": row["schedule"],
        "suspend": bool(row["suspended"]),
        "concurrency": bool(row["concurrency"]),
        "jobSpec": {**spec, "timeout": spec.get("timeoutSeconds"), "secrets": sorted(json.loads(row["secrets"]))},
        "status": {"lastJob": last, "nextJobRunAt": None if row["suspended"] else row["next_run_at"]},
        "owner": _owner(site, row["owner"]),
    }


def _find_scheduled(site: Site, owner: str, scheduled: str) -> sqlite3.Row:
    row = site.database.row("SELECT * FROM scheduled_jobs WHERE id = ? AND owner = ?", scheduled, owner)
    if row is None:
        raise RefusalError(404, "Scheduled job not found")
    return row


@router.post(_SCHEDULED)
def create_scheduled(site: TheSite, user: Writer, owner: str, body: JsonBody) -> dict[str, Any]:
    """Create a job that starts again and again."""
    check_jobs(site, owner, user)
    spec = body.get("jobSpec")
    if not isinstance(spec, dict):
        raise bad_request('"jobSpec" is required')
    check_spec(spec)
    schedule = str(body.get("schedule"))
    following = stamp(next_run(schedule, datetime.now(UTC)))
    scheduled = uuid.uuid4().hex[:24]
    secrets = spec.pop("secrets", None) or {}
    site.database.run(
        "INSERT INTO scheduled_jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?)",
        scheduled,
        owner,
        schedule,
        bool(body.get("suspend")),
        bool(body.get("concurrency")),
        json.dumps(spec),
        json.dumps(secrets),
        now(),
        following,
    )
    return _tell_scheduled(site, _find_scheduled(site, owner, scheduled))


@router.get(_SCHEDULED)
def list_scheduled(site: TheSite, user: User, owner: str) -> list[dict[str, Any]]:
    """List the scheduled jobs of a namespace."""
    _check_reader(owner, user)
    rows = site.database.rows("SELECT * FROM scheduled_jobs WHERE owner = ? ORDER BY created_at", owner)
    return [_tell_scheduled(site, row) for row in rows]


@router.get(_ONE_SCHEDULED)
def inspect_scheduled(site: TheSite, user: User, owner: str, scheduled: str) -> dict[str, Any]:
    """Tell how a scheduled job stands."""
    _check_reader(owner, user)
    return _tell_scheduled(site, _find_scheduled(site, owner, scheduled))


@router.delete(_ONE_SCHEDULED)
def delete_scheduled(site: TheSite, user: Writer, owner: str, scheduled: str) -> dict[str, Any]:
    """Delete a scheduled job; what it started goes on."""
    check_jobs(site, owner, user)
    _find_scheduled(site, owner, scheduled)
    site.database.run("DELETE FROM scheduled_jobs WHERE id = ?", scheduled)
    return {}


def _suspend(site: Site, user: Visitor, owner: str, scheduled: str, suspended: bool) -> dict[str, Any]:
    check_jobs(site, owner, user)
    row = _find_scheduled(site, owner, scheduled)
    following = stamp(next_run(row["schedule"], datetime.now(UTC)))
    site.database.run(
        "UPDATE scheduled_jobs SET suspended = ?, next_run_at = ? WHERE id = ?", suspended, following, scheduled
    )
    return _tell_scheduled(site, _find_scheduled(site, owner, scheduled))


@router.post(_ONE_SCHEDULED + "/suspend")
def suspend(site: TheSite, user: Writer, owner: str, scheduled: str) -> dict[str, Any]:
    """Stop starting a scheduled job."""
    return _suspend(site, user, owner, scheduled, True)


@router.post(_ONE_SCHEDULED + "/resume")
def resume(site: TheSite, user: Writer, owner: str, scheduled: str) -> dict[str, Any]:
    """Start a scheduled job again when it is due."""
    return _suspend(site, user, owner, scheduled, False)


@router.post(_ONE_SCHEDULED + "/run")
def run_scheduled(request: Request, site: TheSite, user: Writer, owner: str, scheduled: str) -> dict[str, Any]:
    """Start a scheduled job now."""
    check_jobs(site, owner, user)
    _find_scheduled(site, owner, scheduled)
    job = run_now(site, scheduled, base_url(request))
    if job is None:
        raise RefusalError(409, "The last job still runs, and this scheduled job may not run twice at a time.")
    return _tell(site, find_job(site, owner, job))
