"""Repos as they stand: what an upload would change there, and who may write; nothing is sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hfembed.errors import HubError
from hfembed.events import silent
from hfembed.hub.identity import client
from hfembed.hub.problems import hub_errors
from hfembed.hub.publish import Upload, left_over, retry, validate
from hfembed.hub.runs import who_am_i


class Change(StrEnum):
    """What an upload does to a file of a repo."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "unchanged"
    REMOVED = "removed"


@dataclass(frozen=True)
class FileChange:
    """One file of an upload: its size, and what becomes of the one of its name."""

    path: str
    size: int
    change: Change


@dataclass(frozen=True)
class RepoState:
    """A repo as it stands. private: None where there is none yet."""

    exists: bool
    private: bool | None
    changes: tuple[FileChange, ...]

    def count(self, *kinds: Change) -> int:
        """Return how many files change in one of these ways."""
        return sum(entry.change in kinds for entry in self.changes)


def compare_upload(upload: Upload) -> RepoState:
    """Look at what an upload would change in its repo; of a pull request, against main."""
    from huggingface_hub.errors import RepositoryNotFoundError

    validate(upload)

    def look() -> Any:
        try:
            return client().repo_info(upload.repo, repo_type=upload.kind, files_metadata=True)
        except RepositoryNotFoundError:
            return None

    with hub_errors(f"{upload.kind} {upload.repo}"):
        info = retry(look, silent())
    there = {file.rfilename: file for file in info.siblings or []} if info else {}
    changes = [_compare(path, content, there.get(path)) for path, content in upload.files]
    changes += [FileChange(path, there[path].size or 0, Change.REMOVED) for path in left_over(upload, there)]
    return RepoState(info is not None, bool(info.private) if info else None, tuple(changes))


def compare_with_nothing(upload: Upload) -> RepoState:
    """Return the same where nobody can be asked: everything is new."""
    validate(upload)
    return RepoState(False, None, tuple(_compare(path, content, None) for path, content in upload.files))


def refuse_others_repo(repo: str, exists: bool, pull_request: bool) -> None:
    """Refuse a repo of somebody else's, unless a pull request can be opened there."""
    account = who_am_i()
    if repo.partition("/")[0] in (account.name, *account.organisations) or (exists and pull_request):
        return
    raise HubError(
        f"'{repo}' is neither yours nor an organisation's of yours: you are {account.name} on the Hub.",
        f"Name {account.name}/{repo.partition('/')[2]}, or open a pull request where the repo is there.",
    )


def _compare(path: str, content: Path | bytes, there: Any) -> FileChange:
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if there is None:
        return FileChange(path, size, Change.NEW)
    same = there.size == size and _hash(content, size, large=there.lfs is not None) == _hash_of(there)
    return FileChange(path, size, Change.SAME if same else Change.CHANGED)


def _hash_of(there: Any) -> str:
    return str(there.blob_id if there.lfs is None else there.lfs.sha256)


def _hash(content: Path | bytes, size: int, *, large: bool) -> str:
    """Return what the Hub knows a file by: the hash of its bytes where it is large, else the name git gives it."""
    digest = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % size)
    if isinstance(content, bytes):
        digest.update(content)
    else:
        with content.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
