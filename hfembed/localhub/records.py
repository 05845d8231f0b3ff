"""What the server knows about each repository beside its git content."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from hfembed.localhub.accounts import Visitor
from hfembed.localhub.database import Database, now
from hfembed.localhub.errors import bad_request, conflict

_REPO_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_]|[-.](?![-.])){0,95}")


class RepoKind(StrEnum):
    """The three kinds of repository."""

    MODEL = "model"
    DATASET = "dataset"
    SPACE = "space"

    @property
    def prefix(self) -> str:
        """Return what stands before namespace/name in a web address."""
        return "" if self is RepoKind.MODEL else f"{self.value}s/"


# Scopes of applications, any of which covers reading, or changing, what its user has.
READING = ("read-repos", "write-repos", "manage-repos")
WRITING = ("write-repos", "manage-repos")


@dataclass(frozen=True)
class RepoRecord:
    """One repository: what it is called, who may see it, and the key of its folder."""

    key: str
    kind: RepoKind
    namespace: str
    name: str
    private: bool
    gated: str | None
    created_at: str
    downloads: int

    @property
    def full_name(self) -> str:
        """Return namespace/name."""
        return f"{self.namespace}/{self.name}"

    @property
    def web_path(self) -> str:
        """Return the path of the repository's page, without the leading slash."""
        return f"{self.kind.prefix}{self.full_name}"


def _record(row: sqlite3.Row) -> RepoRecord:
    return RepoRecord(
        key=row["id"],
        kind=RepoKind(row["kind"]),
        namespace=row["namespace"],
        name=row["name"],
        private=bool(row["private"]),
        gated=row["gated"],
        created_at=row["created_at"],
        downloads=row["downloads"],
    )


def check_repo_name(name: str) -> None:
    """Refuse a repository name that the Hub would refuse."""
    if not _REPO_NAME.fullmatch(name) or name.endswith((".git", ".ipynb", "-", ".")):
        raise bad_request(
            f"Invalid repo name: {name!r}. Use letters, digits, '-', '_' and '.', at most 96 characters; "
            "'--' and '..' are forbidden, and the name cannot end in '.git'."
        )


def find_repo(database: Database, kind: RepoKind, namespace: str, name: str) -> RepoRecord | None:
    """Return the repository with this name, or with this former name."""
    row = database.row(
        "SELECT * FROM repos WHERE kind = ? AND namespace = ? AND name = ?", kind.value, namespace, name
    ) or database.row(
        "SELECT repos.* FROM former_names JOIN repos ON repos.id = former_names.repo "
        "WHERE former_names.kind = ? AND former_names.namespace = ? AND former_names.name = ?",
        kind.value,
        namespace,
        name,
    )
    return None if row is None else _record(row)


def get_repo(database: Database, key: str) -> RepoRecord | None:
    """Return the repository with this key."""
    row = database.row("SELECT * FROM repos WHERE id = ?", key)
    return None if row is None else _record(row)


def list_repos(database: Database, kind: RepoKind) -> list[RepoRecord]:
    """Return every repository of a kind."""
    return [_record(row) for row in database.rows("SELECT * FROM repos WHERE kind = ?", kind.value)]


def insert_repo(database: Database, record: RepoRecord) -> None:
    """Store a new repository; refuse a taken name."""
    try:
        database.run(
            "INSERT INTO repos (id, kind, namespace, name, private, gated, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            record.key,
            record.kind.value,
            record.namespace,
            record.name,
            record.private,
            record.gated,
            now(),
        )
    except sqlite3.IntegrityError:
        raise conflict(f"You already created this {record.kind.value} repo: {record.full_name}") from None
    database.run(
        "DELETE FROM former_names WHERE kind = ? AND namespace = ? AND name = ?",
        record.kind.value,
        record.namespace,
        record.name,
    )


def rename_repo(database: Database, record: RepoRecord, namespace: str, name: str) -> None:
    """Give a repository a new name; the old one keeps leading to it."""
    with database.transaction():
        try:
            database.run("UPDATE repos SET namespace = ?, name = ? WHERE id = ?", namespace, name, record.key)
        except sqlite3.IntegrityError:
            raise conflict(f"{namespace}/{name} already exists.") from None
        database.run(
            "INSERT OR REPLACE INTO former_names VALUES (?, ?, ?, ?)",
            record.kind.value,
            record.namespace,
            record.name,
            record.key,
        )
        database.run(
            "DELETE FROM former_names WHERE kind = ? AND namespace = ? AND name = ?",
            record.kind.value,
            namespace,
            name,
        )


def delete_repo(database: Database, key: str) -> None:
    """Forget a repository and everything that hangs on it."""
    with database.transaction():
        database.run("DELETE FROM repos WHERE id = ?", key)
        for table in (
            "former_names",
            "large_files",
            "likes",
            "access_requests",
            "discussions",
            "discussion_events",
            "spaces",
            "space_settings",
            "space_runs",
            "application_repos",
        ):
            database.run(f"DELETE FROM {table} WHERE repo = ?", key)


def may_read(record: RepoRecord, visitor: Visitor) -> bool:
    """Tell whether the visitor may know that the repository exists."""
    return not record.private or (visitor.belongs_to(record.namespace) and may_enter(record, visitor))


def may_enter(record: RepoRecord, visitor: Visitor) -> bool:
    """Tell whether the token covers reading a repository that is not for everyone: its user's, or its application's."""
    return record.key in visitor.made or visitor.allows(*READING)


def may_read_files(database: Database, record: RepoRecord, visitor: Visitor) -> bool:
    """Tell whether the visitor may read the content, also where it is gated."""
    if not may_read(record, visitor):
        return False
    if record.gated is None or (visitor.belongs_to(record.namespace) and may_enter(record, visitor)):
        return True
    if not visitor.allows("gated-repos"):
        return False
    row = database.row("SELECT status FROM access_requests WHERE repo = ? AND user = ?", record.key, visitor.name)
    return row is not None and row["status"] == "accepted"
