"""Discussions and pull requests: opening them, and what happens in them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from typing import Any

from dulwich.objects import ObjectID
from dulwich.refs import Ref

from hfembed.localhub.database import now
from hfembed.localhub.errors import RefusalError
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.site import Site


def pull_ref(num: int) -> bytes:
    """Return the reference that holds the commits of a pull request."""
    return f"refs/pr/{num}".encode()


def open_discussion(
    site: Site, record: RepoRecord, author: str, title: str, description: str, base_commit: str | None = None
) -> int:
    """Open a discussion, or with a base commit a pull request, and return its number."""
    with site.writing(record) as repo:
        row = site.database.row("SELECT max(num) AS last FROM discussions WHERE repo = ?", record.key)
        num = 1 + int(row["last"] or 0) if row else 1
        if base_commit is not None:
            # The reference comes before the row: without the row nobody sees it, and the next one replaces it.
            repo.refs[Ref(pull_ref(num))] = ObjectID(base_commit.encode())
        status = "open" if base_commit is None else "draft"
        with site.database.transaction():
            site.database.run(
                "INSERT INTO discussions VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                record.key,
                num,
                title,
                status,
                base_commit is not None,
                author,
                now(),
                base_commit,
            )
            add_comment(site, record, num, author, description)
    return num


def add_event(site: Site, record: RepoRecord, num: int, author: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Append something that happened to a discussion, and return it."""
    event = {"id": uuid.uuid4().hex, "type": kind, "author": {"name": author}, "createdAt": now(), "data": data}
    site.database.run(
        "INSERT INTO discussion_events VALUES (?, ?, ?, ?, ?, ?, ?)",
        event["id"],
        record.key,
        num,
        kind,
        author,
        event["createdAt"],
        json.dumps(data),
    )
    return event


def add_comment(site: Site, record: RepoRecord, num: int, author: str, text: str) -> dict[str, Any]:
    """Append a comment to a discussion, and return it."""
    latest = {"raw": text, "html": "", "updatedAt": now(), "author": {"name": author}}
    data = {"edited": False, "hidden": False, "latest": latest, "numEdits": 0, "reactions": []}
    return add_event(site, record, num, author, "comment", data)


def find_discussion(site: Site, record: RepoRecord, num: int) -> sqlite3.Row:
    """Return a discussion by its number."""
    row = site.database.row("SELECT * FROM discussions WHERE repo = ? AND num = ?", record.key, num)
    if row is None:
        raise RefusalError(404, f"Discussion {num} not found")
    return row


def set_status(
    site: Site, record: RepoRecord, num: int, author: str, status: str, merge: str | None = None
) -> dict[str, Any]:
    """Open, close or mark as merged, and return what happened."""
    with site.database.transaction():
        site.database.run(
            "UPDATE discussions SET status = ?, merge_commit = coalesce(?, merge_commit) WHERE repo = ? AND num = ?",
            status,
            merge,
            record.key,
            num,
        )
        return add_event(site, record, num, author, "status-change", {"status": status})
