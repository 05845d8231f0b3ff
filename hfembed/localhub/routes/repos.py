"""Creating, deleting, moving and setting up repositories."""

from __future__ import annotations

import shutil
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request

from hfembed.localhub.access import JsonBody, ManagedRepo, TheSite, User, Writer, base_url, check_manage
from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import now
from hfembed.localhub.errors import RefusalError, bad_request, forbidden, repo_not_found
from hfembed.localhub.gitwrite import Authorship, create_repository
from hfembed.localhub.records import (
    RepoKind,
    RepoRecord,
    check_repo_name,
    delete_repo,
    find_repo,
    insert_repo,
    may_read,
    rename_repo,
)
from hfembed.localhub.sealing import seal
from hfembed.localhub.site import Site
from hfembed.localhub.spaces import forget_space

router = APIRouter()
_SPACE_CARD = """---
title: {name}
emoji: 🌍
colorFrom: blue
colorTo: green
sdk: {sdk}
{entry}pinned: false
---
"""


def _kind(body: dict[str, Any]) -> RepoKind:
    try:
        return RepoKind(body.get("type") or "model")
    except ValueError:
        raise bad_request(f"Invalid repo type: {body['type']!r}. Use model, dataset or space.") from None


def _is_private(body: dict[str, Any]) -> bool:
    # 0.x clients send `private`, 2.x clients send `visibility`.
    return bool(body.get("private")) or body.get("visibility") in ("private", "protected")


def first_files(kind: RepoKind, name: str, sdk: str | None) -> dict[str, bytes]:
    """Return the files that a new repository starts with."""
    folder = resources.files("hfembed.localhub")
    files = {".gitattributes": folder.joinpath("gitattributes.txt").read_bytes()}
    if kind is RepoKind.SPACE:
        entry = "app_file: app.py\n" if sdk in ("gradio", "streamlit") else ""
        files["README.md"] = _SPACE_CARD.format(name=name, sdk=sdk, entry=entry).encode()
    return files


def make_repo(site: Site, visitor: Visitor, kind: RepoKind, full_name: str, body: dict[str, Any]) -> RepoRecord:
    """Create a repository for a visitor who may; `body` holds visibility and what a Space needs."""
    namespace, _, name = full_name.partition("/")
    check_repo_name(name)
    if site.database.row("SELECT 1 FROM accounts WHERE name = ?", namespace) is None or not visitor.may_write(
        namespace, name
    ):
        raise forbidden(f'You don\'t have the rights to create a {kind.value} under the namespace "{namespace}".')
    visitor.check_scopes("contribute-repos", "manage-repos")
    sdk = body.get("sdk")
    if kind is RepoKind.SPACE and sdk not in ("gradio", "docker", "static", "streamlit"):
        raise bad_request('"sdk" must be one of [gradio, docker, static, streamlit]')
    record = RepoRecord(site.new_key(), kind, namespace, name, _is_private(body), None, now(), 0)
    existing = find_repo(site.database, kind, namespace, name)
    if existing is None or existing.full_name.lower() != full_name.lower():
        authorship = Authorship(str(visitor.name), "initial commit")
        create_repository(site.folder_of(record.key), first_files(kind, name, sdk), authorship)
    try:
        insert_repo(site.database, record)
    except RefusalError:
        shutil.rmtree(site.folder_of(record.key), ignore_errors=True)
        raise
    if visitor.client:
        site.database.run("INSERT INTO application_repos VALUES (?, ?)", record.key, visitor.client)
    if kind is RepoKind.SPACE:
        _insert_space(site, record, body)
    return record


def _insert_space(site: Site, record: RepoRecord, body: dict[str, Any]) -> None:
    hardware = body.get("hardware") or "cpu-basic"
    with site.database.transaction():
        site.database.run(
            "INSERT INTO spaces VALUES (?, ?, 'NO_APP_FILE', NULL, ?, ?, ?)",
            record.key,
            body["sdk"],
            hardware,
            body.get("sleepTimeSeconds"),
            body.get("storageTier"),
        )
        for plural in ("secrets", "variables"):
            for item in body.get(plural) or []:
                site.database.run(
                    "INSERT OR REPLACE INTO space_settings VALUES (?, ?, ?, ?, ?, ?)",
                    record.key,
                    plural,
                    item["key"],
                    seal(site.root, str(item["value"])) if plural == "secrets" else str(item["value"]),
                    item.get("description"),
                    now(),
                )


@router.post("/api/repos/create")
def create(request: Request, site: TheSite, user: User, body: JsonBody) -> dict[str, Any]:
    """Create a repository; one that exists is a conflict whose body tells where it is."""
    kind = _kind(body)
    full_name = f"{body.get('organization') or user.name}/{body.get('name') or ''}"
    try:
        record = make_repo(site, user, kind, full_name, body)
    except RefusalError as refusal:
        if refusal.status == 409:
            refusal.body |= {"url": f"{base_url(request)}/{kind.prefix}{full_name}", "name": full_name}
        raise
    return {"url": f"{base_url(request)}/{record.web_path}", "name": record.full_name, "id": record.key[:24]}


def _named(site: Site, user: Visitor, kind: RepoKind, full_name: str) -> RepoRecord:
    namespace, _, name = full_name.partition("/")
    record = find_repo(site.database, kind, namespace, name)
    if record is None or not may_read(record, user):
        raise repo_not_found(signed_in=True)
    check_manage(record, user)
    return record


@router.delete("/api/repos/delete")
def delete(site: TheSite, user: User, body: JsonBody) -> dict[str, Any]:
    """Delete a repository for good."""
    record = _named(site, user, _kind(body), f"{body.get('organization') or user.name}/{body.get('name')}")
    with site.writing(record):
        # The record goes first: a folder without one is swept away at the next start.
        delete_repo(site.database, record.key)
    forget_space(site, record)
    shutil.rmtree(site.folder_of(record.key), ignore_errors=True)
    return {}


@router.post("/api/repos/move")
def move(site: TheSite, user: Writer, body: JsonBody) -> dict[str, Any]:
    """Give a repository another name or owner."""
    record = _named(site, user, _kind(body), str(body.get("fromRepo")))
    namespace, _, name = str(body.get("toRepo")).partition("/")
    check_repo_name(name)
    if not user.may_write(namespace, name):
        raise forbidden(f"You don't have the rights to move a repo to {namespace}.")
    rename_repo(site.database, record, namespace, name)
    return {}


@router.put("/api/{kinds:kinds}/{namespace}/{name}/settings")
def settings(site: TheSite, record: ManagedRepo, body: JsonBody) -> dict[str, Any]:
    """Change who may see a repository."""
    if body.get("private") is not None or body.get("visibility") is not None:
        site.database.run("UPDATE repos SET private = ? WHERE id = ?", _is_private(body), record.key)
    if "gated" in body:
        gated = body["gated"]
        if gated not in ("auto", "manual", False):
            raise bad_request(f'"gated" must be one of [auto, manual, false]; got {gated!r}')
        site.database.run("UPDATE repos SET gated = ? WHERE id = ?", gated or None, record.key)
    return {"private": _is_private(body)} if "private" in body else {}
