"""Discussions and pull requests."""

from __future__ import annotations

import json
import sqlite3
from io import BytesIO
from typing import Any

from dulwich.patch import write_tree_diff
from dulwich.refs import Ref
from dulwich.repo import Repo
from fastapi import APIRouter

from hfembed.localhub.access import (
    API_REPO,
    DiscussedRepo,
    JsonBody,
    ReadableRepo,
    SeenRepo,
    TheSite,
    Writer,
    check_write,
)
from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import now
from hfembed.localhub.discussions import (
    add_comment,
    add_event,
    find_discussion,
    open_discussion,
    pull_ref,
    set_status,
)
from hfembed.localhub.errors import RefusalError, bad_request, conflict, forbidden
from hfembed.localhub.gitread import get_commit, resolve_revision
from hfembed.localhub.gitwrite import Authorship, merge_branch
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.routes.info import is_true
from hfembed.localhub.site import Site
from hfembed.localhub.spaces import refresh_space

router = APIRouter()
_PAGE = 50
_DIFF_LIMIT = 1 << 20
_ONE = API_REPO + "/discussions/{num:int}"


def _short(record: RepoRecord, row: sqlite3.Row) -> dict[str, Any]:
    return {
        "num": row["num"],
        "title": row["title"],
        "status": row["status"],
        "author": {"name": row["author"]},
        "isPullRequest": bool(row["pull_request"]),
        "createdAt": row["created_at"],
        "pinned": False,
        "repo": {"name": record.full_name, "type": record.kind.value},
        "repoOwner": {"name": record.namespace},
    }


@router.get(API_REPO + "/discussions")
def list_discussions(
    site: TheSite, record: SeenRepo, p: int = 0, type: str = "all", status: str = "all", author: str = ""
) -> dict[str, Any]:
    """List the discussions and pull requests of a repository, newest first, a page at a time."""
    rows = site.database.rows("SELECT * FROM discussions WHERE repo = ? ORDER BY num DESC", record.key)
    wanted_type = {"pull_request": True, "discussion": False}.get(type)
    found = [
        row
        for row in rows
        if (wanted_type is None or bool(row["pull_request"]) == wanted_type)
        and (status == "all" or (row["status"] in ("open", "draft")) == (status == "open"))
        and (not author or row["author"].lower() == author.lower())
    ]
    page = found[p * _PAGE : (p + 1) * _PAGE]
    return {"discussions": [_short(record, row) for row in page], "count": len(found), "start": p * _PAGE}


@router.post(API_REPO + "/discussions")
def create_discussion(site: TheSite, record: DiscussedRepo, user: Writer, body: JsonBody) -> dict[str, Any]:
    """Open a discussion, or a pull request to commit to."""
    title = str(body.get("title") or "").strip()
    if len(title) < 3:
        raise bad_request('"title" length must be at least 3 characters long')
    base = None
    if is_true(body.get("pullRequest")):
        with site.open_git(record) as repo:
            base = resolve_revision(repo, "main")
    num = open_discussion(site, record, str(user.name), title, str(body.get("description") or ""), base)
    return {"num": num, "pullRequest": base is not None, "url": f"/{record.web_path}/discussions/{num}"}


def _diff(repo: Repo, before: str, after: str) -> str:
    """Return the changes between two commits as git shows them, cut where they are very long."""
    text = BytesIO()
    trees = (get_commit(repo, before).tree, get_commit(repo, after).tree)
    write_tree_diff(text, repo.object_store, *trees)
    return text.getvalue()[:_DIFF_LIMIT].decode("utf-8", "replace")


def _events(site: Site, record: RepoRecord, num: int) -> list[dict[str, Any]]:
    rows = site.database.rows(
        "SELECT * FROM discussion_events WHERE repo = ? AND num = ? ORDER BY rowid", record.key, num
    )
    return [
        {
            "id": row["id"],
            "type": row["type"],
            "createdAt": row["created_at"],
            "author": {"name": row["author"]},
            "data": json.loads(row["data"]),
        }
        for row in rows
    ]


@router.get(_ONE)
def details(site: TheSite, record: SeenRepo, num: int, diff: str = "") -> dict[str, Any]:
    """Tell everything about a discussion."""
    row = find_discussion(site, record, num)
    told = {**_short(record, row), "events": _events(site, record, num)}
    if row["pull_request"]:
        told["changes"] = {"base": "refs/heads/main", "mergeCommitId": row["merge_commit"]}
        told["filesWithConflicts"] = []
        with site.open_git(record) as repo:
            head = repo.refs[Ref(pull_ref(num))].decode()
            if is_true(diff):
                told["diff"] = _diff(repo, row["base_commit"], head)
            if row["status"] in ("open", "draft"):
                told["filesWithConflicts"] = _conflicts(repo, row["base_commit"], num)
    return told


def _conflicts(repo: Repo, base: str, num: int) -> list[str]:
    return merge_branch(repo, base, pull_ref(num), b"refs/heads/main", None)[1]


@router.post(_ONE + "/comment")
def comment(site: TheSite, record: DiscussedRepo, user: Writer, num: int, body: JsonBody) -> dict[str, Any]:
    """Add a comment."""
    find_discussion(site, record, num)
    return {"newMessage": add_comment(site, record, num, str(user.name), str(body.get("comment") or ""))}


def _own_comment(site: Site, record: RepoRecord, user: Visitor, num: int, comment_id: str) -> dict[str, Any]:
    events = [event for event in _events(site, record, num) if event["id"] == comment_id]
    if not events or events[0]["type"] != "comment":
        raise RefusalError(404, "Comment not found")
    if events[0]["author"]["name"] != user.name and not user.may_write(record.namespace, record.name):
        raise forbidden("This comment is someone else's.")
    return events[0]


def _save_comment(site: Site, event: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(event["data"])
    site.database.run("UPDATE discussion_events SET data = ? WHERE id = ?", data, event["id"])
    return {"updatedComment": event}


@router.post(_ONE + "/comment/{comment_id}/edit")
def edit_comment(
    site: TheSite, record: DiscussedRepo, user: Writer, num: int, comment_id: str, body: JsonBody
) -> dict[str, Any]:
    """Change a comment."""
    event = _own_comment(site, record, user, num, comment_id)
    event["data"]["latest"] |= {"raw": str(body.get("content") or ""), "updatedAt": now()}
    event["data"] |= {"edited": True, "numEdits": event["data"]["numEdits"] + 1}
    return _save_comment(site, event)


@router.post(_ONE + "/comment/{comment_id}/hide")
def hide_comment(site: TheSite, record: DiscussedRepo, user: Writer, num: int, comment_id: str) -> dict[str, Any]:
    """Hide a comment for good."""
    event = _own_comment(site, record, user, num, comment_id)
    event["data"] |= {"hidden": True}
    event["data"]["latest"]["raw"] = "This comment has been hidden"
    return _save_comment(site, event)


def _check_changeable(record: RepoRecord, user: Visitor, row: sqlite3.Row) -> None:
    if row["author"] != user.name:
        check_write(record, user)


@router.post(_ONE + "/title")
def rename(site: TheSite, record: DiscussedRepo, user: Writer, num: int, body: JsonBody) -> dict[str, Any]:
    """Change the title."""
    row = find_discussion(site, record, num)
    _check_changeable(record, user, row)
    title = str(body.get("title") or "").strip()
    if len(title) < 3:
        raise bad_request('"title" length must be at least 3 characters long')
    site.database.run("UPDATE discussions SET title = ? WHERE repo = ? AND num = ?", title, record.key, num)
    change = {"from": row["title"], "to": title}
    return {"newTitle": add_event(site, record, num, str(user.name), "title-change", change)}


@router.post(_ONE + "/status")
def change_status(site: TheSite, record: DiscussedRepo, user: Writer, num: int, body: JsonBody) -> dict[str, Any]:
    """Open or close, with a comment if there is one."""
    row = find_discussion(site, record, num)
    _check_changeable(record, user, row)
    if body.get("status") not in ("open", "closed") or row["status"] == "merged":
        raise bad_request(f"The status cannot become {body.get('status')!r}.")
    if body.get("comment"):
        add_comment(site, record, num, str(user.name), str(body["comment"]))
    return {"newStatus": set_status(site, record, num, str(user.name), str(body["status"]))}


@router.post(_ONE + "/merge")
def merge(site: TheSite, record: ReadableRepo, user: Writer, num: int, body: JsonBody) -> dict[str, Any]:
    """Merge a pull request into main."""
    check_write(record, user)
    author = str(user.name)
    with site.writing(record) as repo:
        row = find_discussion(site, record, num)
        if not row["pull_request"] or row["status"] not in ("open", "draft"):
            raise bad_request("Only an open pull request can be merged.")
        authorship = Authorship(author, f"{row['title']} (#{num})", f"Merge pull request {num}")
        commit_id, conflicts = merge_branch(repo, row["base_commit"], pull_ref(num), b"refs/heads/main", authorship)
        if conflicts:
            raise conflict(f"This pull request conflicts with main in: {', '.join(conflicts)}")
        if body.get("comment"):
            add_comment(site, record, num, author, str(body["comment"]))
        set_status(site, record, num, author, "merged", commit_id)
    refresh_space(site, record)
    return {"success": True, "mergeCommitId": commit_id}
