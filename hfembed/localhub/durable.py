"""Durability: what the server has answered for is on the disk, also after a power cut.

A commit flushes its objects together just before its branch moves: one flush of many files at once costs the
disk little more than the flush of one. File systems that order renames keep what a flushed file is called.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from dulwich.object_store import DiskObjectStore
from dulwich.objects import ShaFile
from dulwich.repo import Repo

# The disk joins flushes that come at the same time.
_AT_ONCE = 16
_flushers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="hfembed-localhub-flush")


def flush_path(path: str | Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_paths(paths: Iterable[str]) -> None:
    """Wait until many files are on the disk."""
    list(_flushers.map(flush_path, paths))


class FlushedStore(DiskObjectStore):
    """Git objects that are written as they come and flushed together, before anything points at them."""

    def __init__(self, path: str) -> None:
        """Open the objects of a repository."""
        super().__init__(path)
        self._unflushed: set[str] = set()

    def add_object(self, obj: ShaFile) -> None:
        """Write an object; it counts as kept only after the next flush."""
        super().add_object(obj)
        # Also one that was there already: whoever wrote it may not have come to flush it.
        self._unflushed.add(os.fsdecode(self._get_shafile_path(obj.id)))

    def flush(self) -> None:
        """Wait until all that was written here is on the disk."""
        paths, self._unflushed = self._unflushed, set()
        flush_paths(paths)


def open_repository(folder: Path) -> Repo:
    """Open a bare repository whose objects are flushed before a reference moves to them."""
    return Repo(str(folder), object_store=FlushedStore(str(folder / "objects")))


def flush_objects(repo: Repo) -> None:
    """Flush the objects that were written through this repository; where none were, nothing happens."""
    cast(FlushedStore, repo.object_store).flush()
