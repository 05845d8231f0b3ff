"""The runtime of Spaces, as far as it is declared."""

from __future__ import annotations

from typing import Any

from hfembed.localhub.errors import repo_not_found
from hfembed.localhub.gitread import list_files, resolve_revision
from hfembed.localhub.records import RepoKind, RepoRecord
from hfembed.localhub.site import Site


def runtime_of(site: Site, record: RepoRecord) -> dict[str, Any]:
    """Return the stage, hardware and sleep time of a Space."""
    row = site.database.row("SELECT * FROM spaces WHERE repo = ?", record.key)
    if row is None:
        raise repo_not_found(signed_in=True)
    return {
        "stage": row["stage"],
        "hardware": {"current": row["hardware"], "requested": row["requested"]},
        "gcTimeout": row["sleep_seconds"],
        "storage": row["storage"],
        "replicas": {"current": 0, "requested": 1},
    }


def refresh_space(site: Site, record: RepoRecord) -> None:
    """Set the stage of a Space that was committed to, from whether it has something to run."""
    if record.kind is not RepoKind.SPACE:
        return
    with site.open_git(record) as repo:
        names = {entry.path for entry in list_files(repo, resolve_revision(repo, "main"))}
    stage = "STOPPED" if names & {"app.py", "Dockerfile", "index.html"} else "NO_APP_FILE"
    site.database.run(
        "UPDATE spaces SET stage = ? WHERE repo = ? AND stage IN ('NO_APP_FILE', 'STOPPED')", stage, record.key
    )
