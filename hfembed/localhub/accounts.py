"""Users, organisations and their access tokens."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hfembed.localhub.database import Database, now
from hfembed.localhub.errors import LocalHubError, forbidden

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|[-_.](?=[A-Za-z0-9])){0,41}")
# First path segments that the server itself answers under.
RESERVED_NAMES = frozenset(
    [
        "api",
        "datasets",
        "spaces",
        "models",
        "collections",
        "jobs",
        "endpoints",
        "v2",
        "oauth",
        "login",
        "logout",
        "settings",
        "lfs",
        "xet",
        "new",
        "join",
        "docs",
        "health",
        "uploads",
        ".well-known",
    ]
)


class TokenRole(StrEnum):
    """What a token may do."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    FINE_GRAINED = "fineGrained"


@dataclass(frozen=True)
class Visitor:
    """Who makes a request: nobody, or a user with the rights of one token."""

    name: str | None = None
    role: TokenRole = TokenRole.READ
    organisations: tuple[str, ...] = ()
    is_admin: bool = False
    label: str = ""
    token_created_at: str = ""
    # What a fine-grained token may write: namespaces or namespace/name.
    targets: tuple[str, ...] = field(default=())
    # What an application may do for the user; None where the token is the user's own.
    scopes: frozenset[str] | None = None
    # The application, and the keys of the repositories that it made for its users.
    client: str = ""
    made: frozenset[str] = frozenset()

    def belongs_to(self, namespace: str) -> bool:
        """Tell whether the namespace is the visitor's own or one of their organisations."""
        mine = {(self.name or "").lower(), *(name.lower() for name in self.organisations)}
        return self.name is not None and (self.is_admin or namespace.lower() in mine)

    def may_write(self, namespace: str, name: str) -> bool:
        """Tell whether the token may change the repository namespace/name."""
        if self.role is TokenRole.READ or not self.belongs_to(namespace):
            return False
        if self.role is not TokenRole.FINE_GRAINED:
            return True
        allowed = {target.lower() for target in self.targets}
        return bool(allowed & {namespace.lower(), f"{namespace}/{name}".lower()})

    def allows(self, *scopes: str) -> bool:
        """Tell whether the token covers one of these scopes, as every token does that is the user's own."""
        return self.scopes is None or not self.scopes.isdisjoint(scopes)

    def check_scopes(self, *scopes: str) -> None:
        """Refuse an application whose user did not allow it any of these scopes."""
        if not self.allows(*scopes):
            raise forbidden(f"This token lacks the scope for this: it needs one of {', '.join(scopes)}.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """Return a fresh random token in the Hub's form."""
    return "hf_" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(34))


def check_name(name: str) -> None:
    """Refuse a user or organisation name that could not stand in a URL."""
    if not _NAME.fullmatch(name) or name.lower() in RESERVED_NAMES:
        raise LocalHubError(
            f"{name!r} cannot be a user or organisation name: letters, digits and single - _ . between them, "
            "at most 42 characters, and none of the words the server uses itself."
        )


def _ensure_account(database: Database, name: str, kind: str) -> None:
    check_name(name)
    row = database.row("SELECT kind FROM accounts WHERE name = ?", name)
    if row is None:
        database.run(
            "INSERT INTO accounts (id, name, kind, created_at) VALUES (?, ?, ?, ?)",
            uuid.uuid4().hex[:24],
            name,
            kind,
            now(),
        )
    elif row["kind"] != kind:
        raise LocalHubError(f"{name!r} is already a {row['kind']}, so it cannot be a {kind}.")


def add_account(database: Database, name: str, organisations: Iterable[str], role: TokenRole, token: str | None) -> str:
    """Create the user and organisations where they are missing, and return a token for the user.

    `role` admin makes a user who may do everything everywhere. `token` sets the token instead of a random one.
    """
    token = token or new_token()
    with database.transaction():
        _ensure_account(database, name, "user")
        for organisation in organisations:
            _ensure_account(database, organisation, "org")
            database.run("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", organisation, name, "admin")
        if role is TokenRole.ADMIN:
            database.run("UPDATE accounts SET is_admin = 1 WHERE name = ?", name)
        save_token(database, name, token, role)
    return token


def save_token(
    database: Database,
    user: str,
    token: str,
    role: TokenRole,
    *,
    label: str = "hfembed",
    targets: Iterable[str] = (),
    lifetime: float | None = None,
    scopes: Iterable[str] | None = None,
    client: str = "",
) -> None:
    """Store the digest of a token for a user.

    `targets` limit a fine-grained one, `lifetime` is in seconds, `scopes` limit what the application `client` may do.
    """
    expires_at = None if lifetime is None else time.time() + lifetime
    with database.transaction():
        database.run(
            "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?)",
            _digest(token),
            user,
            label,
            role.value,
            json.dumps(list(targets)),
            now(),
            expires_at,
        )
        database.run("DELETE FROM token_scopes WHERE digest = ?", _digest(token))
        if scopes is not None:
            values = (_digest(token), client, json.dumps(sorted(scopes)))
            database.run("INSERT INTO token_scopes VALUES (?, ?, ?)", *values)


def visitor_for(database: Database, token: str) -> Visitor | None:
    """Return who a token stands for, or None where it is unknown or has expired."""
    row = database.row(
        "SELECT tokens.*, accounts.name AS account, is_admin, client, scopes FROM tokens "
        "JOIN accounts ON accounts.name = tokens.user "
        "LEFT JOIN token_scopes ON token_scopes.digest = tokens.digest WHERE tokens.digest = ?",
        _digest(token),
    )
    if row is None or (row["expires_at"] is not None and row["expires_at"] < time.time()):
        return None
    return Visitor(
        name=row["account"],
        role=TokenRole(row["role"]),
        organisations=organisations_of(database, row["account"]),
        is_admin=bool(row["is_admin"]) and row["role"] == TokenRole.ADMIN,
        label=row["label"],
        token_created_at=row["created_at"],
        targets=tuple(json.loads(row["targets"])),
        **_application_rights(database, row),
    )


def _application_rights(database: Database, row: sqlite3.Row) -> dict[str, Any]:
    """Return what a visitor may not do because an application acts for them; nothing for the user's own token."""
    if row["scopes"] is None:
        return {}
    scopes = frozenset(json.loads(row["scopes"]))
    made = database.rows("SELECT repo FROM application_repos WHERE client = ?", row["client"])
    # Without the scope an application has lost what it once made.
    keys = frozenset(item["repo"] for item in made) if "contribute-repos" in scopes else frozenset()
    return {"scopes": scopes, "client": row["client"], "made": keys}


def organisations_of(database: Database, user: str) -> tuple[str, ...]:
    """Return the organisations that a user is a member of, in the order of the alphabet."""
    rows = database.rows("SELECT organisation FROM members WHERE user = ? ORDER BY organisation", user)
    return tuple(row["organisation"] for row in rows)


def has_users(database: Database) -> bool:
    """Tell whether anyone can sign in at all."""
    return database.row("SELECT 1 FROM accounts WHERE kind = 'user'") is not None
