"""Who am I, and who are the others."""

from __future__ import annotations

import sqlite3
from typing import Any

from fastapi import APIRouter

from hfembed.localhub.access import AnyVisitor, TheSite, User
from hfembed.localhub.accounts import Visitor, organisations_of
from hfembed.localhub.errors import RefusalError
from hfembed.localhub.site import Site

router = APIRouter()
AVATAR = "/avatar.svg"


def _account(site: Site, name: str, kind: str) -> sqlite3.Row:
    row = site.database.row("SELECT * FROM accounts WHERE name = ? AND kind = ?", name, kind)
    if row is None:
        raise RefusalError(404, f"This {kind} does not exist: {name}")
    return row


def person(name: str) -> dict[str, Any]:
    """Return a user as lists of users hold them."""
    return {"user": name, "fullname": name, "avatarUrl": AVATAR, "isPro": False, "type": "user"}


def _organisation(site: Site, name: str) -> dict[str, Any]:
    row = _account(site, name, "org")
    return {"id": row["id"], "type": "org", "name": row["name"], "fullname": row["name"], "avatarUrl": AVATAR}


@router.get("/api/whoami-v2")
def whoami(site: TheSite, user: User) -> dict[str, Any]:
    """Tell who the token belongs to and what it may do."""
    row = _account(site, str(user.name), "user")
    organisations = [
        {**_organisation(site, name), "email": None, "roleInOrg": "admin", "isEnterprise": False, "canPay": True}
        for name in user.organisations
    ]
    return {
        "type": "user",
        "id": row["id"],
        "name": row["name"],
        "fullname": row["name"],
        "email": f"{row['name']}@users.noreply.localhub",
        "emailVerified": True,
        "canPay": True,
        "periodEnd": None,
        "isPro": True,
        "avatarUrl": AVATAR,
        "orgs": organisations,
        "auth": _token_facts(user),
    }


def _token_facts(user: Visitor) -> dict[str, Any]:
    token: dict[str, Any] = {
        "displayName": user.label,
        "role": user.role.value,
        "createdAt": user.token_created_at,
    }
    if user.targets:
        token["fineGrained"] = {
            "global": [],
            "scoped": [{"entity": {"name": target}, "permissions": ["repo.write"]} for target in user.targets],
        }
    return {"type": "access_token", "accessToken": token}


def _count_repos(site: Site, namespace: str) -> dict[str, int]:
    rows = site.database.rows(
        "SELECT kind, count(*) AS count FROM repos WHERE namespace = ? AND private = 0 GROUP BY kind", namespace
    )
    counts = {row["kind"]: row["count"] for row in rows}
    return {f"num{kind.title()}s": counts.get(kind, 0) for kind in ("model", "dataset", "space")}


@router.get("/api/users/{name}/overview")
def user_overview(site: TheSite, _: AnyVisitor, name: str) -> dict[str, Any]:
    """Tell about one user."""
    row = _account(site, name, "user")
    organisations = [_organisation(site, organisation) for organisation in organisations_of(site.database, name)]
    return {**person(row["name"]), **_count_repos(site, name), "_id": row["id"], "orgs": organisations}


@router.get("/api/organizations/{name}/overview")
def organisation_overview(site: TheSite, _: AnyVisitor, name: str) -> dict[str, Any]:
    """Tell about one organisation."""
    members = site.database.rows("SELECT user FROM members WHERE organisation = ?", name)
    return {**_organisation(site, name), **_count_repos(site, name), "numUsers": len(members)}


@router.get("/api/organizations/{name}/members")
def organisation_members(site: TheSite, _: AnyVisitor, name: str) -> list[dict[str, Any]]:
    """List the members of an organisation."""
    _account(site, name, "org")
    rows = site.database.rows("SELECT user FROM members WHERE organisation = ? ORDER BY user", name)
    return [person(row["user"]) for row in rows]
