"""Collections of repositories."""

from __future__ import annotations

import re
import sqlite3
import uuid
from typing import Any

from fastapi import APIRouter, Request, Response

from hfembed.localhub.access import AnyVisitor, JsonBody, TheSite, Writer
from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import now
from hfembed.localhub.errors import RefusalError, bad_request, forbidden
from hfembed.localhub.records import RepoKind, RepoRecord, find_repo, may_read
from hfembed.localhub.routes.info import next_link
from hfembed.localhub.site import Site

router = APIRouter()
_PAGE = 100
_ONE = "/api/collections/{namespace}/{slug_id}"
_READING = ("read-collections", "write-collections")
_THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")


def _find(site: Site, visitor: Visitor, namespace: str, slug_id: str, *, write: bool = False) -> sqlite3.Row:
    row = site.database.row("SELECT * FROM collections WHERE slug = ?", f"{namespace}/{slug_id}")
    if row is None or (row["private"] and not visitor.belongs_to(row["namespace"])):
        raise RefusalError(404, "Collection not found")
    if write or row["private"]:
        visitor.check_scopes(*(("write-collections",) if write else _READING))
    if write and not visitor.may_write(row["namespace"], slug_id):
        raise forbidden("This collection is someone else's.")
    return row


def _item_repo(site: Site, kind: str, name: str) -> RepoRecord | None:
    namespace, _, repo_name = name.partition("/")
    return find_repo(site.database, RepoKind(kind), namespace, repo_name) if kind in list(RepoKind) else None


def _tell(site: Site, visitor: Visitor, row: sqlite3.Row) -> dict[str, Any]:
    rows = site.database.rows("SELECT * FROM collection_items WHERE slug = ? ORDER BY position, rowid", row["slug"])
    items: list[dict[str, Any]] = []
    for item in rows:
        record = _item_repo(site, item["type"], item["item"])
        if record is None or not may_read(record, visitor):
            continue
        items.append(
            {
                "_id": item["id"],
                "id": record.full_name,
                "type": item["type"],
                "position": len(items),
                "note": {"text": item["note"], "html": ""} if item["note"] else None,
                "repoType": item["type"],
                "author": record.namespace,
                "private": record.private,
            }
        )
    return {
        "slug": row["slug"],
        "title": row["title"],
        "description": row["description"],
        "items": items,
        "owner": {"name": row["namespace"], "fullname": row["namespace"], "type": "user", "avatarUrl": "/avatar.svg"},
        "lastUpdated": row["updated_at"],
        "position": row["position"],
        "private": bool(row["private"]),
        "theme": row["theme"],
        "upvotes": 0,
        "gating": False,
        "isUpvotedByUser": False,
    }


@router.get("/api/collections")
def list_collections(
    request: Request, response: Response, site: TheSite, visitor: AnyVisitor, limit: int = _PAGE, cursor: str = ""
) -> list[dict[str, Any]]:
    """List collections by owner or by what they hold, newest first."""
    owners = {owner.lower() for owner in request.query_params.getlist("owner")}
    wanted = {item.partition("/")[2] for item in request.query_params.getlist("item")}
    rows = site.database.rows("SELECT * FROM collections ORDER BY updated_at DESC, slug")
    told = [
        _tell(site, visitor, row)
        for row in rows
        if (not row["private"] or (visitor.belongs_to(row["namespace"]) and visitor.allows(*_READING)))
        and (not owners or row["namespace"].lower() in owners)
    ]
    if wanted:
        told = [collection for collection in told if wanted & {item["id"] for item in collection["items"]}]
    start = int(cursor) if cursor.isdigit() else 0
    limit = max(1, min(limit, _PAGE))
    if start + limit < len(told):
        next_link(request, response, cursor=start + limit)
    # The client adds the position of its own list, so it must not come twice.
    return [
        {key: value for key, value in collection.items() if key != "position"}
        for collection in told[start : start + limit]
    ]


@router.post("/api/collections")
def create_collection(site: TheSite, user: Writer, body: JsonBody) -> dict[str, Any]:
    """Create a collection."""
    namespace, title = str(body.get("namespace") or user.name), str(body.get("title") or "").strip()
    if not 1 <= len(title) <= 60:
        raise bad_request('"title" must have 1 to 60 characters')
    user.check_scopes("write-collections")
    if not user.may_write(namespace, ""):
        raise forbidden(f"You don't have the rights to create a collection for {namespace}.")
    existing = site.database.row("SELECT slug FROM collections WHERE namespace = ? AND title = ?", namespace, title)
    if existing is not None:
        refusal = RefusalError(409, f"{namespace} already has a collection of this title.")
        refusal.body["slug"] = existing["slug"]
        raise refusal
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "collection"
    slug = f"{namespace}/{words}-{uuid.uuid4().hex[:24]}"
    site.database.run(
        "INSERT INTO collections VALUES (?, ?, ?, ?, ?, 'orange', 0, ?)",
        slug,
        namespace,
        title,
        body.get("description"),
        bool(body.get("private")),
        now(),
    )
    return _tell(site, user, _find(site, user, *slug.split("/")))


@router.get(_ONE)
def get_collection(site: TheSite, visitor: AnyVisitor, namespace: str, slug_id: str) -> dict[str, Any]:
    """Tell what a collection holds."""
    return _tell(site, visitor, _find(site, visitor, namespace, slug_id))


@router.patch(_ONE)
def update_collection(site: TheSite, user: Writer, namespace: str, slug_id: str, body: JsonBody) -> dict[str, Any]:
    """Change title, description, visibility, theme or position."""
    row = _find(site, user, namespace, slug_id, write=True)
    if body.get("theme") not in (None, *_THEMES):
        raise bad_request(f'"theme" must be one of [{", ".join(_THEMES)}]')
    fields = {name: body.get(name, row[name]) for name in ("title", "description", "private", "theme", "position")}
    site.database.run(
        "UPDATE collections SET title=?, description=?, private=?, theme=?, position=?, updated_at=? WHERE slug=?",
        *fields.values(),
        now(),
        row["slug"],
    )
    return {"success": True, "data": _tell(site, user, _find(site, user, namespace, slug_id))}


@router.delete(_ONE)
def delete_collection(site: TheSite, user: Writer, namespace: str, slug_id: str) -> dict[str, Any]:
    """Delete a collection; what it held stays."""
    row = _find(site, user, namespace, slug_id, write=True)
    with site.database.transaction():
        site.database.run("DELETE FROM collections WHERE slug = ?", row["slug"])
        site.database.run("DELETE FROM collection_items WHERE slug = ?", row["slug"])
    return {"success": True}


@router.post(_ONE + "/items")
def add_item(site: TheSite, user: Writer, namespace: str, slug_id: str, body: JsonBody) -> dict[str, Any]:
    """Put a repository into a collection."""
    row = _find(site, user, namespace, slug_id, write=True)
    item = body.get("item") or {}
    kind, name = str(item.get("type")), str(item.get("id"))
    record = _item_repo(site, kind, name)
    if record is None or not may_read(record, user):
        raise RefusalError(404, f"There is no {kind} {name}.")
    try:
        site.database.run(
            "INSERT INTO collection_items SELECT ?, ?, ?, ?, ?, count(*) FROM collection_items WHERE slug = ?",
            uuid.uuid4().hex[:24],
            row["slug"],
            kind,
            record.full_name,
            body.get("note"),
            row["slug"],
        )
    except sqlite3.IntegrityError:
        raise RefusalError(409, f"{name} is in this collection already.") from None
    site.database.run("UPDATE collections SET updated_at = ? WHERE slug = ?", now(), row["slug"])
    return _tell(site, user, _find(site, user, namespace, slug_id))


@router.patch(_ONE + "/items/{item_id}")
def update_item(
    site: TheSite, user: Writer, namespace: str, slug_id: str, item_id: str, body: JsonBody
) -> dict[str, Any]:
    """Change the note or the position of an item."""
    row = _find(site, user, namespace, slug_id, write=True)
    changed = site.database.run(
        "UPDATE collection_items SET note = coalesce(?, note), position = coalesce(?, position) "
        "WHERE id = ? AND slug = ?",
        body.get("note"),
        body.get("position"),
        item_id,
        row["slug"],
    )
    if not changed:
        raise RefusalError(404, "This collection has no such item.")
    return {"success": True}


@router.delete(_ONE + "/items/{item_id}")
def delete_item(site: TheSite, user: Writer, namespace: str, slug_id: str, item_id: str) -> dict[str, Any]:
    """Take an item out of a collection."""
    row = _find(site, user, namespace, slug_id, write=True)
    if not site.database.run("DELETE FROM collection_items WHERE id = ? AND slug = ?", item_id, row["slug"]):
        raise RefusalError(404, "This collection has no such item.")
    return {"success": True}
