"""Spaces: their stage, their runtime as it is told, and what a commit or a setting makes of them.

The app of a gradio Space runs as a process of this machine where the server was started with consent
(`hfembed hub serve --spaces`, `LocalHub(run_spaces=True)`). It runs in the Python environment of the server:
requirements.txt is not installed. A card with `hf_oauth: true` gives it what signs visitors in. Docker and static
Spaces are declared only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dulwich.repo import Repo

from hfembed.localhub.card import read_card
from hfembed.localhub.errors import repo_not_found
from hfembed.localhub.gitread import list_files, read_file, resolve_revision
from hfembed.localhub.records import RepoKind, RepoRecord
from hfembed.localhub.site import Site
from hfembed.localhub.spacesignin import forget_application

# A process runs, or is about to.
ACTIVE = ("BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING")
_KEPT_ON_COMMIT = ("PAUSED",)
_NOT_RUN = "{sdk} Spaces are declared on the local Hub, not run: it starts only Spaces whose sdk is gradio."
_NO_CONSENT = "This server does not run Spaces. Start it with: hfembed hub serve --spaces"


def folder_of_space(site: Site, key: str) -> Path:
    """Return the folder in which a Space runs."""
    return site.root / "spaces" / key


def set_stage(site: Site, key: str, stage: str, message: str | None = None) -> None:
    """Set the stage of a Space, with what there is to say about it; hardware is held only while it is active."""
    with site.database.transaction():
        site.database.run("UPDATE spaces SET stage = ? WHERE repo = ?", stage, key)
        if stage not in ACTIVE:
            site.database.run("UPDATE spaces SET hardware = NULL WHERE repo = ?", key)
        site.database.run(
            "INSERT INTO space_runs (repo, message) VALUES (?, ?) ON CONFLICT (repo) DO UPDATE SET message = ?",
            key,
            message,
            message,
        )


def runtime_of(site: Site, record: RepoRecord) -> dict[str, Any]:
    """Return the stage, hardware, sleep time and address of a Space."""
    if site.runner is not None:
        site.runner.refresh(record.key)
    row = site.database.row(
        "SELECT spaces.*, message, port, commit_id FROM spaces LEFT JOIN space_runs ON space_runs.repo = spaces.repo "
        "WHERE spaces.repo = ?",
        record.key,
    )
    if row is None:
        raise repo_not_found(signed_in=True)
    is_up = row["stage"] in ("RUNNING", "RUNNING_BUILDING")
    told = {
        "stage": row["stage"],
        "hardware": {"current": row["hardware"], "requested": row["requested"]},
        "gcTimeout": row["sleep_seconds"],
        "storage": row["storage"],
        "replicas": {"current": int(is_up), "requested": 1},
        "devMode": False,
    }
    if row["message"]:
        told["errorMessage"] = row["message"]
    if is_up:
        told |= {"domains": [{"domain": f"127.0.0.1:{row['port']}", "stage": "READY"}], "sha": row["commit_id"]}
    return told


def address_of(site: Site, record: RepoRecord) -> str | None:
    """Return where the running app of a Space is reached."""
    domains = runtime_of(site, record).get("domains")
    return f"http://{domains[0]['domain']}" if domains else None


def front_matter(repo: Repo, commit_id: str) -> dict[str, Any]:
    """Return what the card of a Space says about it."""
    return read_card((read_file(repo, commit_id, "README.md") or b"").decode("utf-8", "replace"))


def app_file(repo: Repo, commit_id: str) -> str:
    """Return the path of the app that the card of a Space names; app.py unless it names one."""
    return str(front_matter(repo, commit_id).get("app_file") or "app.py")


def start_space(site: Site, record: RepoRecord) -> None:
    """Run a Space that may run here; say of any other why it does not."""
    with site.open_git(record) as repo:
        commit_id = resolve_revision(repo, "main")
        sdk = front_matter(repo, commit_id).get("sdk") or _sdk(site, record)
        names = {entry.path for entry in list_files(repo, commit_id)}
        app = app_file(repo, commit_id)
    if sdk == "gradio" and site.runner is not None and app in names:
        site.runner.launch(record)
        return
    if names & {app, "Dockerfile", "index.html"}:
        set_stage(site, record.key, "STOPPED", _NO_CONSENT if sdk == "gradio" else _NOT_RUN.format(sdk=sdk))
    else:
        stop_space(site, record, "NO_APP_FILE")


def refresh_space(site: Site, record: RepoRecord) -> None:
    """Build a Space that was committed to, unless it is paused."""
    if record.kind is RepoKind.SPACE and _stage(site, record) not in _KEPT_ON_COMMIT:
        start_space(site, record)


def restart_if_active(site: Site, record: RepoRecord) -> None:
    """Start a running Space anew, because what it was started with has changed."""
    if site.runner is not None and _stage(site, record) in ACTIVE:
        site.runner.launch(record)


def stop_space(site: Site, record: RepoRecord, stage: str) -> None:
    """End what runs of a Space and leave it in a stage."""
    if site.runner is not None:
        site.runner.halt(record.key, stage)
    else:
        set_stage(site, record.key, stage)


def forget_space(site: Site, record: RepoRecord) -> None:
    """End a Space that is deleted."""
    if record.kind is not RepoKind.SPACE:
        return
    if site.runner is not None:
        site.runner.forget(record.key)
    forget_application(site, record.key)


def _stage(site: Site, record: RepoRecord) -> str:
    row = site.database.row("SELECT stage FROM spaces WHERE repo = ?", record.key)
    return str(row["stage"]) if row else ""


def _sdk(site: Site, record: RepoRecord) -> str:
    row = site.database.row("SELECT sdk FROM spaces WHERE repo = ?", record.key)
    return str(row["sdk"]) if row else ""
