"""Scheduled jobs."""

from __future__ import annotations

import json
import sqlite3
import uuid
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from hfembed.localhub.access import JsonBody, TheSite, User, Writer, base_url
from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import now, stamp
from hfembed.localhub.errors import RefusalError, bad_request
from hfembed.localhub.jobs import check_jobs, find_job
from hfembed.localhub.jobspec import check_labels, check_spec
from hfembed.localhub.routes.jobs import change_spec, check_reader, tell_job, tell_owner
from hfembed.localhub.schedule import next_run, run_now
from hfembed.localhub.sealing import seal_all, unseal_all
from hfembed.localhub.site import Site

router = APIRouter()
_ALL = "/api/scheduled-jobs/{owner}"
_ONE = _ALL + "/{scheduled}"


def _tell_scheduled(site: Site, row: sqlite3.Row) -> dict[str, Any]:
    spec = json.loads(row["spec"])
    last = {"id": row["last_job"], "at": row["last_run_at"]} if row["last_job"] else None
    return {
        "id": row["id"],
        "createdAt": row["created_at"],
        "schedule": row["schedule"],
        "suspend": bool(row["suspended"]),
        "concurrency": bool(row["concurrency"]),
        "jobSpec": {
            **spec,
            "timeout": spec.get("timeoutSeconds"),
            "secrets": sorted(unseal_all(site.root, row["secrets"])),
        },
        "status": {"lastJob": last, "nextJobRunAt": None if row["suspended"] else row["next_run_at"]},
        "owner": tell_owner(site, row["owner"]),
    }


def _find_scheduled(site: Site, owner: str, scheduled: str) -> sqlite3.Row:
    row = site.database.row("SELECT * FROM scheduled_jobs WHERE id = ? AND owner = ?", scheduled, owner)
    if row is None:
        raise RefusalError(404, "Scheduled job not found")
    return row


@router.post(_ALL)
def create_scheduled(site: TheSite, user: Writer, owner: str, body: JsonBody) -> dict[str, Any]:
    """Create a job that starts again and again."""
    check_jobs(site, owner, user)
    spec = body.get("jobSpec")
    if not isinstance(spec, dict):
        raise bad_request('"jobSpec" is required')
    check_spec(site, user, spec)
    schedule = str(body.get("schedule"))
    following = stamp(next_run(schedule, datetime.now(UTC)))
    scheduled = uuid.uuid4().hex[:24]
    secrets = {str(key): str(value) for key, value in (spec.pop("secrets", None) or {}).items()}
    site.database.run(
        "INSERT INTO scheduled_jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?)",
        scheduled,
        owner,
        schedule,
        bool(body.get("suspend")),
        bool(body.get("concurrency")),
        json.dumps(spec),
        seal_all(site.root, secrets),
        now(),
        following,
    )
    return _tell_scheduled(site, _find_scheduled(site, owner, scheduled))


@router.get(_ALL)
def list_scheduled(site: TheSite, user: User, owner: str) -> list[dict[str, Any]]:
    """List the scheduled jobs of a namespace."""
    check_reader(owner, user)
    rows = site.database.rows("SELECT * FROM scheduled_jobs WHERE owner = ? ORDER BY created_at", owner)
    return [_tell_scheduled(site, row) for row in rows]


@router.get(_ONE)
def inspect_scheduled(site: TheSite, user: User, owner: str, scheduled: str) -> dict[str, Any]:
    """Tell how a scheduled job stands."""
    check_reader(owner, user)
    return _tell_scheduled(site, _find_scheduled(site, owner, scheduled))


@router.delete(_ONE)
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


@router.post(_ONE + "/suspend")
def suspend(site: TheSite, user: Writer, owner: str, scheduled: str) -> dict[str, Any]:
    """Stop starting a scheduled job."""
    return _suspend(site, user, owner, scheduled, True)


@router.post(_ONE + "/resume")
def resume(site: TheSite, user: Writer, owner: str, scheduled: str) -> dict[str, Any]:
    """Start a scheduled job again when it is due."""
    return _suspend(site, user, owner, scheduled, False)


@router.post(_ONE + "/run")
def run_scheduled(request: Request, site: TheSite, user: Writer, owner: str, scheduled: str) -> dict[str, Any]:
    """Start a scheduled job now."""
    check_jobs(site, owner, user)
    _find_scheduled(site, owner, scheduled)
    job = run_now(site, scheduled, base_url(request))
    if job is None:
        raise RefusalError(409, "The last job still runs, and this scheduled job may not run twice at a time.")
    return tell_job(site, find_job(site, owner, job))


@router.post(_ONE + "/schedule")
def reschedule(site: TheSite, user: Writer, owner: str, scheduled: str, body: JsonBody) -> dict[str, Any]:
    """Change when a scheduled job runs."""
    check_jobs(site, owner, user)
    _find_scheduled(site, owner, scheduled)
    schedule = str(body.get("schedule"))
    following = stamp(next_run(schedule, datetime.now(UTC)))
    site.database.run(
        "UPDATE scheduled_jobs SET schedule = ?, next_run_at = ? WHERE id = ?", schedule, following, scheduled
    )
    return _tell_scheduled(site, _find_scheduled(site, owner, scheduled))


@router.put(_ONE + "/labels")
def set_scheduled_labels(site: TheSite, user: Writer, owner: str, scheduled: str, body: JsonBody) -> dict[str, Any]:
    """Replace the labels of a scheduled job."""
    check_jobs(site, owner, user)
    check_labels(body.get("labels"))
    change_spec(site, "scheduled_jobs", _find_scheduled(site, owner, scheduled), labels=body.get("labels"))
    return _tell_scheduled(site, _find_scheduled(site, owner, scheduled))
