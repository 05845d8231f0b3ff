"""Jobs."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from hfembed.localhub.access import JsonBody, TheSite, User, Writer, base_url
from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import now
from hfembed.localhub.errors import forbidden
from hfembed.localhub.hardware import HARDWARE
from hfembed.localhub.html import page, table
from hfembed.localhub.jobs import (
    TERMINAL,
    cancel_job,
    check_jobs,
    find_job,
    folder_of,
    list_jobs,
    spec_of,
    start_job,
)
from hfembed.localhub.jobspec import check_labels, check_spec, exposed_ports
from hfembed.localhub.logs import last_lines, send_log
from hfembed.localhub.site import Site

router = APIRouter()
_PAGE_LINES = 200
_TOLD = (
    "dockerImage",
    "spaceId",
    "command",
    "arguments",
    "environment",
    "labels",
    "volumes",
    "expose",
    "initiator",
)
_ONE = "/api/jobs/{owner}/{job}"


def tell_owner(site: Site, name: str) -> dict[str, Any]:
    """Return the user or organisation that a job belongs to."""
    row = site.database.row("SELECT id, name, kind FROM accounts WHERE name = ?", name)
    return (
        {"id": row["id"], "name": row["name"], "type": row["kind"]} if row else {"id": "", "name": name, "type": "user"}
    )


def tell_job(site: Site, row: sqlite3.Row) -> dict[str, Any]:
    """Return a job as the Hub tells it."""
    spec = json.loads(row["spec"])
    return {
        "type": "job",
        "id": row["id"],
        "createdAt": row["created_at"],
        "startedAt": row["started_at"],
        "finishedAt": row["finished_at"],
        **{key: spec.get(key) for key in _TOLD},
        "flavor": spec.get("flavor", "cpu-basic"),
        "timeout": spec.get("timeoutSeconds"),
        "secrets": json.loads(row["secrets"]),
        "retry": (spec.get("attempts") or 1) - 1,
        "status": _status(row, spec),
        "durations": _durations(row),
        "exitCode": row["exit_code"],
        "owner": tell_owner(site, row["owner"]),
    }


def _status(row: sqlite3.Row, spec: dict[str, Any]) -> dict[str, Any]:
    # A job listens on this machine itself, so its ports are reached as they are.
    urls = [f"http://127.0.0.1:{port}" for port in exposed_ports(spec)]
    return {"stage": row["stage"], "message": row["message"], **({"exposeUrls": urls} if urls else {})}


def _durations(row: sqlite3.Row) -> dict[str, int | None]:
    """Return how many seconds a job waited and ran, up to now where it still does."""
    moments = [row["created_at"], row["started_at"], row["finished_at"] or now()]
    created, started, ended = (datetime.fromisoformat(moment) if moment else None for moment in moments)
    assert created is not None and ended is not None
    return {
        "schedulingSecs": int((started - created).total_seconds()) if started else None,
        "runningSecs": int((ended - started).total_seconds()) if started else None,
        "totalSecs": int((ended - created).total_seconds()),
    }


def _initiator(site: Site, user: Visitor) -> dict[str, str]:
    return tell_owner(site, str(user.name)) | {"type": "user"}


def check_reader(owner: str, user: Visitor) -> None:
    """Refuse those who may not see the jobs of a namespace."""
    user.check_scopes("jobs")
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
    check_spec(site, user, body)
    job = start_job(site, owner, body, base_url(request), _initiator(site, user))
    return tell_job(site, find_job(site, owner, job))


@router.get("/api/jobs/{owner}")
def list_all(request: Request, site: TheSite, user: User, owner: str) -> list[dict[str, Any]]:
    """List the jobs of a namespace, newest first."""
    check_reader(owner, user)
    stages, labels = (set(request.query_params.getlist(name)) for name in ("stage", "label"))
    told = [tell_job(site, row) for row in list_jobs(site, owner)]
    return [
        job
        for job in told
        if (not stages or job["status"]["stage"] in stages)
        and labels <= {f"{key}={value}" for key, value in (job["labels"] or {}).items()}
    ]


@router.get(_ONE)
def inspect(site: TheSite, user: User, owner: str, job: str) -> dict[str, Any]:
    """Tell how a job stands."""
    check_reader(owner, user)
    return tell_job(site, find_job(site, owner, job))


@router.post(_ONE + "/cancel")
def cancel(site: TheSite, user: Writer, owner: str, job: str) -> dict[str, Any]:
    """End a job."""
    check_jobs(site, owner, user)
    cancel_job(site, find_job(site, owner, job))
    return tell_job(site, find_job(site, owner, job))


@router.post(_ONE + "/duplicate")
def duplicate(request: Request, site: TheSite, user: Writer, owner: str, job: str) -> dict[str, Any]:
    """Start a job again as it was asked for, with its secrets."""
    check_jobs(site, owner, user)
    spec = spec_of(site, find_job(site, owner, job))
    check_spec(site, user, spec)
    copy = start_job(site, owner, spec, base_url(request), {"type": "duplicated-job", "id": job})
    return tell_job(site, find_job(site, owner, copy))


def change_spec(site: Site, table: str, row: sqlite3.Row, **changes: Any) -> None:
    """Change what is kept of what a job, or a scheduled one, was asked to do."""
    spec = json.dumps(json.loads(row["spec"]) | changes)
    site.database.run(f"UPDATE {table} SET spec = ? WHERE id = ?", spec, row["id"])


@router.put(_ONE + "/labels")
def set_labels(site: TheSite, user: Writer, owner: str, job: str, body: JsonBody) -> dict[str, Any]:
    """Replace the labels of a job."""
    check_jobs(site, owner, user)
    check_labels(body.get("labels"))
    change_spec(site, "jobs", find_job(site, owner, job), labels=body.get("labels"))
    return tell_job(site, find_job(site, owner, job))


@router.put(_ONE + "/expose")
def set_exposed(site: TheSite, user: Writer, owner: str, job: str, body: JsonBody) -> dict[str, Any]:
    """Replace the ports of a job that are told; here every port of a job is this machine's anyway."""
    check_jobs(site, owner, user)
    exposed_ports({"expose": body})
    change_spec(site, "jobs", find_job(site, owner, job), expose=body)
    return tell_job(site, find_job(site, owner, job))


@router.get(_ONE + "/logs")
def logs(
    request: Request, site: TheSite, user: User, owner: str, job: str, tail: int | None = None
) -> StreamingResponse:
    """Send the log of a job as it is written, until the job is over."""
    check_reader(owner, user)
    row = find_job(site, owner, job)
    moment = row["created_at"]
    first = json.dumps({"data": f"===== Job started at {moment} =====", "timestamp": moment})
    path = folder_of(site, job) / "log.jsonl"
    return send_log(request, path, lambda: find_job(site, owner, job)["stage"] in TERMINAL, tail, first)


@router.get("/jobs/{owner}/{job}")
def job_page(site: TheSite, user: User, owner: str, job: str) -> HTMLResponse:
    """Show a person how a job stands, with the end of its log."""
    check_reader(owner, user)
    told = tell_job(site, find_job(site, owner, job))
    command = " ".join(told["command"] or [])
    facts = [["Stage", told["status"]["stage"]], ["Hardware", told["flavor"]], ["Command", command]]
    if told["status"]["message"]:
        facts.append(["Message", told["status"]["message"]])
    rows = [[name, escape(str(value))] for name, value in facts]
    log = escape("\n".join(last_lines(folder_of(site, job) / "log.jsonl", _PAGE_LINES)))
    return page(f"Job {job}", f"<h1>Job {escape(job)}</h1>{table(rows)}<pre>{log}</pre>")
