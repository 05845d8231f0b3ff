"""What all routes of one server share."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dulwich.repo import Repo

from hfembed.localhub.database import Database
from hfembed.localhub.durable import flush_objects, open_repository
from hfembed.localhub.errors import LocalHubError
from hfembed.localhub.largefiles import LargeFileStore
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.xet import XorbStore

if TYPE_CHECKING:
    from hfembed.localhub.endpoints import Endpoints
    from hfembed.localhub.faults import Faults
    from hfembed.localhub.spacerun import SpaceRunner

_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How large things may be, in bytes."""

    # Above this a file is stored as a large file, whatever its name.
    regular_file: int = 10 * _MEBIBYTE
    # Large files above this come in parts of this size.
    upload_part: int = 256 * _MEBIBYTE
    large_file: int = 200 * 1024 * _MEBIBYTE
    json_body: int = 16 * _MEBIBYTE
    commit_body: int = 1024 * _MEBIBYTE


@dataclass
class Site:
    """One server's folder: git repositories, large files, and the database."""

    root: Path
    database: Database
    large_files: LargeFileStore
    xorbs: XorbStore
    limits: Limits
    # Two servers on other data never share this, so clients' caches keyed by it never mix them up.
    identity: str
    _lock_file: IO[bytes]
    jobs_allowed: bool = False
    faults: Faults | None = None
    # The processes that look after the jobs this server started.
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    # The threads that bring what accepted jobs need before they start.
    launches: dict[str, threading.Thread] = field(default_factory=dict)
    # None where Spaces are only declared.
    runner: SpaceRunner | None = None
    # None where commands of users do not run.
    endpoints: Endpoints | None = None
    _locks: dict[str, threading.RLock] = field(default_factory=dict)
    _locks_guard: threading.Lock = field(default_factory=threading.Lock)

    def folder_of(self, key: str) -> Path:
        """Return the bare git repository of a record; no name that a user chose is part of it."""
        return self.root / "repos" / f"{key}.git"

    @contextmanager
    def open_git(self, record: RepoRecord) -> Iterator[Repo]:
        """Open a repository's git for the length of a block."""
        repo = open_repository(self.folder_of(record.key))
        try:
            yield repo
            # A branch that another block will move must find its objects on the disk.
            flush_objects(repo)
        finally:
            repo.close()

    @contextmanager
    def writing(self, record: RepoRecord) -> Iterator[Repo]:
        """Open a repository's git with no one else writing to it meanwhile."""
        with self._locks_guard:
            lock = self._locks.setdefault(record.key, threading.RLock())
        with lock, self.open_git(record) as repo:
            yield repo

    def new_key(self) -> str:
        """Return the key for a repository to come."""
        return uuid.uuid4().hex

    def close(self) -> None:
        """Let another server have the folder."""
        self.database.close()
        self._lock_file.close()


def open_database(root: Path) -> Database:
    """Open the database of a server's folder, which is made where it is missing."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Database(root / "hub.sqlite")


def open_site(root: Path, limits: Limits) -> Site:
    """Open a server's folder for serving; only one server may have it at a time."""
    root = root.resolve()
    database = open_database(root)
    lock_file = (root / "server.lock").open("ab")
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock_file.close()
        raise LocalHubError(f"Another server already serves {root}; stop it or choose another folder.") from None
    (root / "repos").mkdir(exist_ok=True)
    secret = _secret(root)
    large_files = LargeFileStore(root, database, secret)
    site = Site(root, database, large_files, XorbStore(root, large_files), limits, secret[:8].hex(), lock_file)
    _clean_up(site)
    return site


def _secret(root: Path) -> bytes:
    path = root / "secret"
    if not path.exists():
        fresh = root / "secret.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(40))
        fresh.replace(path)
    return path.read_bytes()


def _clean_up(site: Site) -> None:
    """Remove what a killed server left: half uploads, lock files, repositories without a record."""
    site.large_files.clear_incoming()
    known = {row["id"] for row in site.database.rows("SELECT id FROM repos")}
    for folder in (site.root / "repos").iterdir():
        if folder.name.removesuffix(".git") not in known:
            shutil.rmtree(folder)
            continue
        for stale in [*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock")]:
            stale.unlink()
