"""Settings and declared runtime of Spaces."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from hfembed.localhub.access import API_REPO, JsonBody, ReadableRepo, SeenRepo, TheSite, User, WritableRepo, base_url
from hfembed.localhub.database import now
from hfembed.localhub.errors import RefusalError, bad_request
from hfembed.localhub.gitread import list_files, read_blob, resolve_revision
from hfembed.localhub.gitwrite import Authorship, Changes, add_blob, commit_changes
from hfembed.localhub.hardware import HARDWARE_OF_SPACES, SPACE_HARDWARE
from hfembed.localhub.logs import send_log
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.routes.repos import make_repo
from hfembed.localhub.sealing import seal
from hfembed.localhub.site import Site
from hfembed.localhub.spaces import (
    ACTIVE,
    address_of,
    folder_of_space,
    refresh_space,
    restart_if_active,
    runtime_of,
    start_space,
    stop_space,
)

router = APIRouter()
# The file of each log, and the stages in which it still grows.
_LOGS = {"run": ("log.jsonl", ACTIVE), "build": ("build.jsonl", ("BUILDING", "RUNNING_BUILDING"))}
_SPACE = "/api/{kinds:space_kinds}/{namespace}/{name}"


def _settings(site: Site, record: RepoRecord, kind: str) -> dict[str, Any]:
    rows = site.database.rows("SELECT * FROM space_settings WHERE repo = ? AND type = ? ORDER BY key", record.key, kind)
    # The value of a secret never leaves the server again.
    return {
        row["key"]: {
            "key": row["key"],
            "description": row["description"],
            "updatedAt": row["updated_at"],
            **({"value": row["value"]} if kind == "variables" else {}),
        }
        for row in rows
    }


@router.get(_SPACE + "/{setting:space_settings}")
def get_settings(site: TheSite, record: WritableRepo, setting: str) -> dict[str, Any]:
    """List the variables, or the names of the secrets, of a Space."""
    return _settings(site, record, setting)


@router.post(_SPACE + "/{setting:space_settings}")
def set_setting(site: TheSite, record: WritableRepo, setting: str, body: JsonBody) -> dict[str, Any]:
    """Set a variable or a secret of a Space; the newer clients may send several at once."""
    items = body.get(setting) or [body]
    for item in items:
        if not item.get("key") or "value" not in item:
            raise bad_request("A setting needs a key and a value.")
        site.database.run(
            "INSERT OR REPLACE INTO space_settings VALUES (?, ?, ?, ?, ?, ?)",
            record.key,
            setting,
            str(item["key"]),
            seal(site.root, str(item["value"])) if setting == "secrets" else str(item["value"]),
            item.get("description"),
            now(),
        )
    restart_if_active(site, record)
    return _settings(site, record, setting)


@router.delete(_SPACE + "/{setting:space_settings}")
def delete_setting(site: TheSite, record: WritableRepo, setting: str, body: JsonBody) -> dict[str, Any]:
    """Delete a variable or a secret of a Space."""
    site.database.run(
        "DELETE FROM space_settings WHERE repo = ? AND type = ? AND key = ?", record.key, setting, body.get("key")
    )
    restart_if_active(site, record)
    return _settings(site, record, setting)


@router.get(_SPACE + "/runtime")
def runtime(site: TheSite, record: SeenRepo) -> dict[str, Any]:
    """Tell the stage, hardware and sleep time of a Space."""
    return runtime_of(site, record)


@router.post(_SPACE + "/hardware")
def request_hardware(site: TheSite, record: WritableRepo, body: JsonBody) -> dict[str, Any]:
    """Ask for other hardware."""
    flavor = body.get("flavor")
    if flavor not in SPACE_HARDWARE:
        raise bad_request(f'"flavor" must be one of [{", ".join(SPACE_HARDWARE)}]; got {flavor!r}')
    site.database.run(
        "UPDATE spaces SET requested = ?, sleep_seconds = coalesce(?, sleep_seconds) WHERE repo = ?",
        flavor,
        body.get("sleepTimeSeconds"),
        record.key,
    )
    told = runtime_of(site, record)
    if site.runner is not None and told["stage"] != "PAUSED" and told["hardware"]["current"] != flavor:
        start_space(site, record)
    return runtime_of(site, record)


@router.post(_SPACE + "/sleeptime")
def set_sleep_time(site: TheSite, record: WritableRepo, body: JsonBody) -> dict[str, Any]:
    """Set after how many seconds without a visitor the Space sleeps; -1 is never."""
    seconds = body.get("seconds")
    if not isinstance(seconds, int):
        raise bad_request('"seconds" must be a number')
    site.database.run("UPDATE spaces SET sleep_seconds = ? WHERE repo = ?", seconds, record.key)
    return runtime_of(site, record)


@router.post(_SPACE + "/storage")
def request_storage(site: TheSite, record: WritableRepo, body: JsonBody) -> dict[str, Any]:
    """Ask for a disk that stays."""
    site.database.run("UPDATE spaces SET storage = ? WHERE repo = ?", body.get("tier"), record.key)
    return runtime_of(site, record)


@router.delete(_SPACE + "/storage")
def delete_storage(site: TheSite, record: WritableRepo) -> dict[str, Any]:
    """Give the disk back."""
    site.database.run("UPDATE spaces SET storage = NULL WHERE repo = ?", record.key)
    return runtime_of(site, record)


@router.post(_SPACE + "/pause")
def pause(site: TheSite, record: WritableRepo) -> dict[str, Any]:
    """Pause a Space."""
    stop_space(site, record, "PAUSED")
    return runtime_of(site, record)


@router.post(_SPACE + "/restart")
def restart(site: TheSite, record: WritableRepo) -> dict[str, Any]:
    """Build and start a Space, also out of its pause; where it does not run here, it stands stopped."""
    start_space(site, record)
    return runtime_of(site, record)


@router.get("/api/spaces/hardware")
def space_hardware() -> list[dict[str, Any]]:
    """List hardware for Spaces with prices."""
    return HARDWARE_OF_SPACES


@router.get(_SPACE + "/logs/{log}")
def logs(request: Request, site: TheSite, record: WritableRepo, log: str, tail: int | None = None) -> Response:
    """Send the log of a Space's app or of its build, as it is written; one that never ran has an empty log."""
    if log not in _LOGS:
        raise RefusalError(404, f"There is no log {log!r}; use {' or '.join(_LOGS)}.")
    row = site.database.row("SELECT run FROM space_runs WHERE repo = ?", record.key)
    if row is None or row["run"] is None:
        return StreamingResponse(iter([": keep-alive\n\n"]), media_type="text/event-stream")
    name, stages = _LOGS[log]

    def is_over() -> bool:
        latest = site.database.row(
            "SELECT stage, run FROM spaces JOIN space_runs ON space_runs.repo = spaces.repo WHERE spaces.repo = ?",
            record.key,
        )
        return latest is None or latest["run"] != row["run"] or latest["stage"] not in stages

    return send_log(request, folder_of_space(site, record.key) / row["run"] / name, is_over, tail)


@router.get(_SPACE + "/host")
def host(site: TheSite, record: SeenRepo) -> dict[str, str]:
    """Tell where the running app of a Space is reached, as gradio's client asks for it."""
    address = address_of(site, record)
    if address is None:
        raise RefusalError(404, f"The Space {record.full_name} is not running.")
    return {"subdomain": address.removeprefix("http://"), "host": address}


@router.get("/{kinds:space_prefix}{namespace}/{name}/app")
def visit(site: TheSite, record: ReadableRepo) -> Response:
    """Lead a visitor to the running app of a Space; one that sleeps is woken up."""
    address = address_of(site, record)
    if address is not None and site.runner is not None:
        site.runner.visit(record.key)
        return RedirectResponse(address, 302)
    stage = runtime_of(site, record)["stage"]
    if stage == "SLEEPING":
        start_space(site, record)
    raise RefusalError(503, f"The Space {record.full_name} is not running: {stage}.", Retry_After="2")


@router.post(API_REPO + "/duplicate")
def duplicate(request: Request, site: TheSite, record: ReadableRepo, user: User, body: JsonBody) -> dict[str, Any]:
    """Copy the files of a repository, and the variables of a Space; secrets are not copied."""
    target = str(body.get("repository"))
    row = site.database.row("SELECT sdk FROM spaces WHERE repo = ?", record.key)
    variables = [{"key": key, "value": item["value"]} for key, item in _settings(site, record, "variables").items()]
    wanted = {**body, "sdk": row["sdk"] if row else None}
    if body.get("private") is None and body.get("visibility") is None:
        wanted["private"] = record.private
    wanted["variables"] = variables + list(body.get("variables") or [])
    try:
        copy = make_repo(site, user, record.kind, target, wanted)
    except RefusalError as refusal:
        refusal.body["url"] = f"{base_url(request)}/{record.kind.prefix}{target}"
        raise
    _copy_files(site, record, copy, str(user.name))
    return {"url": f"{base_url(request)}/{copy.web_path}", "name": copy.full_name}


def _copy_files(site: Site, source: RepoRecord, target: RepoRecord, author: str) -> None:
    changes = Changes()
    with site.open_git(source) as old, site.writing(target) as new:
        for entry in list_files(old, resolve_revision(old, "main")):
            changes.files[entry.path] = add_blob(new, read_blob(old, entry.git_id))
            if entry.large:
                site.large_files.claim(target.key, entry.large.oid, entry.large.size)
        authorship = Authorship(author, f"Duplicate from {source.full_name}")
        commit_changes(new, b"refs/heads/main", changes, authorship)
    refresh_space(site, target)
