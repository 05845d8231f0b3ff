"""Repos that keep what was sent elsewhere: private datasets, changed commit by commit, read anew each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hfembed.errors import HubError
from hfembed.events import Reporter, silent
from hfembed.hub.identity import client, stored_token, token_option
from hfembed.hub.problems import hub_errors, status_of
from hfembed.hub.publish import retry

T = TypeVar("T")

KIND = "dataset"
# The Hub's advice for one commit.
FILES_PER_COMMIT = 100
# Two commits at one moment: the Hub takes one and refuses the other, which is then made on top of it.
COLLISION, COLLISIONS = (409, 412), 8


@dataclass(frozen=True)
class Account:
    """Who is logged in, and the organisations they belong to."""

    name: str
    organisations: tuple[str, ...]


class RunRepo:
    """One such repo."""

    def __init__(self, name: str, report: Reporter | None = None) -> None:
        """Address the repo `owner/name`; nothing is sent yet."""
        self.name = name
        self._report = report or silent()

    @property
    def url(self) -> str:
        """Its page."""
        return f"{hub_address()}/datasets/{self.name}"

    def create(self) -> None:
        """Make the repo, for its owner's eyes only."""
        self._call(lambda api: api.create_repo(self.name, repo_type=KIND, private=True, exist_ok=True))

    def delete(self) -> None:
        """Remove the repo with all that it holds."""
        self._call(lambda api: api.delete_repo(self.name, repo_type=KIND, missing_ok=True))

    def commit(self, files: Mapping[str, Path | bytes], gone: Iterable[str] = (), message: str = "") -> str:
        """Write files and remove others; return the commit. Many files take several commits, the last one counts."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        names, revision = list(files), ""
        for start in range(0, max(1, len(names)), FILES_PER_COMMIT):
            some = names[start : start + FILES_PER_COMMIT]
            left = list(gone) if start + FILES_PER_COMMIT >= len(names) else []

            def once(api: Any, some: list[str] = some, left: list[str] = left) -> str:
                # Made anew for every try: the client keeps on an operation what it believes was sent.
                there = set(api.list_repo_files(self.name, repo_type=KIND)) if left else set()
                operations: list[Any] = [
                    CommitOperationAdd(name, content if isinstance(content := files[name], bytes) else str(content))
                    for name in some
                ]
                operations += [CommitOperationDelete(name) for name in left if name in there]
                return str(api.create_commit(self.name, operations, commit_message=message, repo_type=KIND).oid)

            revision = self._call(lambda api, once=once: _after_collisions(lambda: once(api)))  # type: ignore[misc]
        return revision

    def read(self, path: str) -> bytes | None:
        """Return a file as it is now; nothing where there is none."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        def download(_: Any) -> bytes | None:
            try:
                return Path(hf_hub_download(self.name, path, repo_type=KIND, token=token_option())).read_bytes()
            except LocalEntryNotFoundError:
                raise  # not reached, which is a kind of not found to the client
            except EntryNotFoundError:
                return None

        return self._call(download)

    def download(self, folder: Path, patterns: list[str]) -> None:
        """Bring what the repo holds now into a folder."""
        from huggingface_hub import snapshot_download

        self._call(
            lambda _: snapshot_download(
                self.name, repo_type=KIND, local_dir=folder, allow_patterns=patterns, token=token_option()
            )
        )

    def files(self) -> set[str]:
        """Return the names of what the repo holds now."""
        return set(self._call(lambda api: api.list_repo_files(self.name, repo_type=KIND)))

    def _call(self, what: Callable[[Any], T]) -> T:
        with hub_errors(f"run {self.name}"):
            return retry(lambda: what(client()), self._report)


def find_run_repos(owner: str, prefix: str) -> list[str]:
    """Return the repos of an owner whose names begin so, newest first."""
    with hub_errors(f"runs of {owner}"):
        found = retry(lambda: [entry.id for entry in client().list_datasets(author=owner, search=prefix)], silent())
    return sorted((name for name in found if name.partition("/")[2].startswith(prefix)), reverse=True)


def hub_address() -> str:
    """Return where the Hub is that the client speaks to."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def who_am_i() -> Account:
    """Return who is logged in, or say that nobody is."""
    if stored_token() is None:
        raise HubError("Nobody is logged in to the Hub, and a run can only be sent there by someone.", "hf auth login")
    with hub_errors("account of this token"):
        found = retry(lambda: client().whoami(), silent())
    return Account(found["name"], tuple(entry["name"] for entry in found.get("orgs", [])))


def check_token(token: str) -> None:
    """Refuse a token that the Hub does not know, before a run is sent off with it."""
    from huggingface_hub import HfApi

    with hub_errors("account of the token that the run is to be given"):
        retry(lambda: HfApi(token=token).whoami(), silent())


def missing_files(repo: str, kind: str, revision: str, wanted: Iterable[str]) -> list[str] | None:
    """Return which of these files a repo lacks at a revision; nothing at all where it or the revision is not there."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    def listed() -> set[str] | None:
        try:
            return set(client().list_repo_files(repo, repo_type=kind, revision=revision))
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None

    with hub_errors(f"{kind} {repo}"):
        there = retry(listed, silent())
    return None if there is None else sorted(set(wanted) - there)


def _after_collisions(call: Callable[[], T]) -> T:
    for attempt in range(1, COLLISIONS + 1):
        try:
            return call()
        except Exception as error:
            if attempt == COLLISIONS or status_of(error) not in COLLISION:
                raise
            time.sleep(0.5 * attempt)
    raise AssertionError("the loop returns or raises")
