"""Writing the files of a repository into a folder, for a command to find them there."""

from __future__ import annotations

import shutil
from pathlib import Path

from hfembed.localhub.gitread import list_files, read_blob
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.site import Site

_READ_ONLY = 0o444


def write_files(
    site: Site, record: RepoRecord, commit_id: str, target: Path, *, below: str = "", read_only: bool = False
) -> int:
    """Write the files of a commit, or those below one of its folders, and return how many there are.

    Large files are copied: what a command does to its files never reaches the Hub's own.
    """
    count = 0
    prefix = f"{below.strip('/')}/" if below.strip("/") else ""
    target.mkdir(parents=True, exist_ok=True)
    with site.open_git(record) as repo:
        for entry in list_files(repo, commit_id):
            if not entry.path.startswith(prefix):
                continue
            path = target / entry.path.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.large:
                shutil.copyfile(site.large_files.path_of(entry.large.oid), path)
            else:
                path.write_bytes(read_blob(repo, entry.git_id))
            if read_only:
                path.chmod(_READ_ONLY)
            count += 1
    return count
