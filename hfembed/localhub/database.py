"""The sqlite file that holds everything that is not git or a large file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any


def now() -> str:
    """Return the present moment as the Hub writes it."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """Write a moment as the Hub does: UTC, milliseconds, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class Database:
    """One sqlite file, and the connections that are free to use it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pinned = threading.local()
        self._idle: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        schema = resources.files("hfembed.localhub").joinpath("schema.sql").read_text(encoding="utf-8")
        path.touch(mode=0o600)
        with self._borrow() as connection:
            connection.executescript(schema)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        # One flush of the write-ahead log for every commit: what was answered survives a power cut as well.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    @contextmanager
    def _borrow(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection: the one of the transaction this thread is in, or one of its own."""
        pinned: sqlite3.Connection | None = getattr(self._pinned, "connection", None)
        if pinned is not None:
            yield pinned
            return
        with self._guard:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            yield connection
        finally:
            with self._guard:
                self._idle.append(connection)

    def rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """Return every row that a query finds."""
        with self._borrow() as connection:
            return connection.execute(statement, values).fetchall()

    def row(self, statement: str, *values: Any) -> sqlite3.Row | None:
        """Return the first row that a query finds."""
        with self._borrow() as connection:
            found: sqlite3.Row | None = connection.execute(statement, values).fetchone()
        return found

    def run(self, statement: str, *values: Any) -> int:
        """Execute one statement and return how many rows it changed."""
        with self._borrow() as connection:
            return connection.execute(statement, values).rowcount

    def count(self, statement: str, *values: Any) -> None:
        """Execute a statement that may be lost in a power cut: counters that every download moves."""
        with self._borrow() as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            try:
                connection.execute(statement, values)
            finally:
                connection.execute("PRAGMA synchronous=FULL")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the statements of this thread inside happen together or not at all; one inside another joins it."""
        if getattr(self._pinned, "connection", None) is not None:
            yield
            return
        with self._borrow() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._pinned.connection = connection
            try:
                yield
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            else:
                connection.execute("COMMIT")
            finally:
                self._pinned.connection = None

    def close(self) -> None:
        """Close the connections."""
        with self._guard:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
