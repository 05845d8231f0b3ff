"""Likes, and access to gated repositories."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from hfembed.localhub.access import API_REPO, WEB_REPO, AnyVisitor, JsonBody, SeenRepo, TheSite, User, WritableRepo
from hfembed.localhub.database import now
from hfembed.localhub.errors import RefusalError, bad_request
from hfembed.localhub.records import RepoRecord, get_repo, may_read
from hfembed.localhub.routes.accounts import person
from hfembed.localhub.site import Site

router = APIRouter()
_STATUSES = ("pending", "accepted", "rejected")


@router.post(API_REPO + "/like")
def like(site: TheSite, record: SeenRepo, user: User) -> dict[str, Any]:
    """Like a repository."""
    site.database.run("INSERT OR IGNORE INTO likes VALUES (?, ?, ?)", user.name, record.key, now())
    return {}


@router.delete(API_REPO + "/like")
def unlike(site: TheSite, record: SeenRepo, user: User) -> dict[str, Any]:
    """Take a like back."""
    site.database.run("DELETE FROM likes WHERE user = ? AND repo = ?", user.name, record.key)
    return {}


@router.get(API_REPO + "/likers")
def likers(site: TheSite, record: SeenRepo) -> list[dict[str, Any]]:
    """List who likes a repository."""
    rows = site.database.rows("SELECT user FROM likes WHERE repo = ? ORDER BY created_at", record.key)
    return [person(row["user"]) for row in rows]


@router.get("/api/users/{name}/likes")
def liked(site: TheSite, visitor: AnyVisitor, name: str) -> list[dict[str, Any]]:
    """List what a user likes, as far as the caller may see it."""
    rows = site.database.rows("SELECT * FROM likes WHERE user = ? ORDER BY created_at", name)
    pairs = [(row["created_at"], get_repo(site.database, row["repo"])) for row in rows]
    return [
        {"createdAt": moment, "repo": {"name": record.full_name, "type": record.kind.value}}
        for moment, record in pairs
        if record is not None and may_read(record, visitor)
    ]


@router.post(API_REPO + "/ask-access")
@router.post(WEB_REPO + "/ask-access")
def ask_access(site: TheSite, record: SeenRepo, user: User) -> dict[str, str]:
    """Ask for access to a gated repository; where that is automatic, get it."""
    if record.gated is None:
        raise bad_request("This repository is not gated.")
    status = "accepted" if record.gated == "auto" else "pending"
    site.database.run("INSERT OR IGNORE INTO access_requests VALUES (?, ?, ?, ?)", record.key, user.name, status, now())
    return {"status": status}


@router.get(API_REPO + "/user-access-request/{status}")
def access_requests(site: TheSite, record: WritableRepo, status: str) -> list[dict[str, Any]]:
    """List who asked for access and stands where."""
    rows = site.database.rows(
        "SELECT * FROM access_requests WHERE repo = ? AND status = ? ORDER BY created_at", record.key, status
    )
    return [
        {
            "requestId": f"{record.key[:12]}-{row['user']}",
            "user": person(row["user"]),
            "status": row["status"],
            "timestamp": row["created_at"],
            "fields": {},
        }
        for row in rows
    ]


@router.post(API_REPO + "/user-access-request/handle")
def handle_access(site: TheSite, record: WritableRepo, body: JsonBody) -> dict[str, Any]:
    """Accept, reject or put back a request for access."""
    if body.get("status") not in _STATUSES:
        raise bad_request(f'"status" must be one of [{", ".join(_STATUSES)}]')
    user = body.get("user") or str(body.get("requestId")).partition("-")[2]
    changed = site.database.run(
        "UPDATE access_requests SET status = ? WHERE repo = ? AND user = ?",
        body["status"],
        record.key,
        user,
    )
    if not changed:
        raise RefusalError(404, f"{user} has not asked for access.")
    return {}


def _grant(site: Site, record: RepoRecord, user: str) -> None:
    site.database.run("INSERT OR REPLACE INTO access_requests VALUES (?, ?, 'accepted', ?)", record.key, user, now())


@router.post(API_REPO + "/user-access-request/grant")
def grant_access(site: TheSite, record: WritableRepo, body: JsonBody) -> dict[str, Any]:
    """Give a user access who has not asked."""
    user = str(body.get("user"))
    if site.database.row("SELECT 1 FROM accounts WHERE name = ? AND kind = 'user'", user) is None:
        raise RefusalError(404, f"There is no user {user}.")
    _grant(site, record, user)
    return {}
