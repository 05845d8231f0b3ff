"""Inference Endpoints: models of this Hub, each served by a process of this machine until it is paused or deleted.

On the Hub a container of text-embeddings-inference does that on a machine of its own; here `hfembed serve` answers in
the same protocol, whatever image was asked for.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from hfembed.localhub.checkout import write_files
from hfembed.localhub.database import now
from hfembed.localhub.errors import RefusalError
from hfembed.localhub.gitread import resolve_revision
from hfembed.localhub.logs import last_lines
from hfembed.localhub.processes import base_environment, start_process
from hfembed.localhub.records import RepoKind, find_repo
from hfembed.localhub.site import Site

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.1
_START_SECONDS = 10 * 60
_REASON_LINES = 5
_ENDED = "The server that ran this endpoint has ended. Resume it to run it again."
LIVE = ("pending", "initializing", "running", "updating")


@dataclass
class Served:
    """One process that serves an endpoint. url: where it listens, once it does; key: what it demands of this server."""

    folder: Path
    key: str
    process: subprocess.Popen[bytes]
    url: str | None = None


class Endpoints:
    """The endpoints that this server runs; each has at most one process."""

    def __init__(self, site: Site, address: str) -> None:
        """Run endpoints of a site, which find this Hub at `address`; what an earlier server ran has ended with it."""
        self._site, self._address = site, address
        self._served: dict[str, Served] = {}
        self._ending: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self._guard = threading.RLock()
        # Counts what was asked of an endpoint, so that an older start knows that it is outdated.
        self._asked: dict[str, int] = {}
        for row in site.database.rows("SELECT id, state FROM endpoints"):
            if row["state"] in LIVE:
                self._set(row["id"], "paused", _ENDED)

    def launch(self, identity: str) -> None:
        """Start an endpoint from what its row says, in place of what runs of it now."""
        with self._guard:
            self.halt(identity, "pending")
            order = (identity, self._asked[identity])
            thread = threading.Thread(target=self._start, args=order, name=f"endpoint-{identity}", daemon=True)
            self._threads = [known for known in self._threads if known.is_alive()] + [thread]
            thread.start()

    def halt(self, identity: str, state: str, message: str | None = None) -> None:
        """End what runs of an endpoint, and say how it stands then."""
        with self._guard:
            self._asked[identity] = self._asked.get(identity, 0) + 1
            self._set(identity, state, message)
            served = self._served.pop(identity, None)
            if served is not None:
                served.process.terminate()
                self._ending.append(served.process)

    def forget(self, identity: str) -> None:
        """End an endpoint that is deleted, and remove all that was written for it."""
        self.halt(identity, "paused")
        self._settle()
        shutil.rmtree(self._folder(identity), ignore_errors=True)

    def find(self, identity: str) -> Served | None:
        """Return the process that answers for an endpoint, if one does."""
        with self._guard:
            served = self._served.get(identity)
            if served is not None and served.process.poll() is not None:
                words = "\n".join(last_lines(served.folder / "log.jsonl", _REASON_LINES))
                self.halt(identity, "failed", f"Exit code: {served.process.returncode}. {words}".strip())
                return None
            return served if served is not None and served.url else None

    def close(self) -> None:
        """End every endpoint that this server runs."""
        with self._guard:
            for identity in list(self._served):
                self.halt(identity, "paused", _ENDED)
        for thread in self._threads:
            thread.join()
        self._settle()

    def _settle(self) -> None:
        with self._guard:
            ending, self._ending = self._ending, []
        for process in ending:
            process.wait()

    def _folder(self, identity: str) -> Path:
        return self._site.root / "endpoints" / identity

    def _set(self, identity: str, state: str, message: str | None = None) -> None:
        self._site.database.run(
            "UPDATE endpoints SET state = ?, message = ?, updated_at = ? WHERE id = ?", state, message, now(), identity
        )

    def _start(self, identity: str, asked: int) -> None:
        try:
            folder = self._folder(identity) / uuid.uuid4().hex[:24]
            model = self._bring(identity, folder)
            key = secrets.token_urlsafe(24)
            environment = base_environment(folder, self._address, "cpu-basic") | {"HFEMBED_API_KEY": key}
            command = [sys.executable, "-m", "hfembed", "serve", str(folder / "repository"), "--port", "0"]
            with self._guard:
                if self._asked[identity] != asked:
                    return
                process = start_process(
                    folder, [*command, "--name", model, "--format", "json"], environment, ends_with_server=True
                )
                served = self._served[identity] = Served(folder, key, process)
                self._set(identity, "initializing")
            self._await(identity, served)
        except Exception as error:
            if not isinstance(error, RefusalError):
                _log.exception("The endpoint %s could not be started", identity)
            with self._guard:
                if self._asked[identity] == asked:
                    self.halt(identity, "failed", str(error))

    def _bring(self, identity: str, folder: Path) -> str:
        row = self._site.database.row("SELECT spec FROM endpoints WHERE id = ?", identity)
        if row is None:
            raise RefusalError(404, "Endpoint not found")
        model = json.loads(row["spec"])["model"]
        record = find_repo(self._site.database, RepoKind.MODEL, *str(model["repository"]).split("/"))
        if record is None:
            raise RefusalError(404, f"The model {model['repository']} is gone.")
        with self._site.open_git(record) as repo:
            commit_id = resolve_revision(repo, str(model.get("revision") or "main"))
        (folder / "work").mkdir(parents=True, mode=0o700)
        write_files(self._site, record, commit_id, folder / "repository", read_only=True)
        return record.full_name

    def _await(self, identity: str, served: Served) -> None:
        """Look until it says where it listens: its first line, once it does."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._served.get(identity) is served:
            for line in last_lines(served.folder / "log.jsonl", _REASON_LINES):
                if line.startswith('{"url"'):
                    with self._guard:
                        served.url = str(json.loads(line)["url"]).removesuffix("/v1")
                        self._set(identity, "running")
                    return
            if served.process.poll() is not None:
                self.find(identity)
                return
            time.sleep(_LOOK_SECONDS)
        if self._served.get(identity) is served:
            self.halt(identity, "failed", "It did not start in time.")


def find_endpoint(site: Site, owner: str, name: str) -> sqlite3.Row:
    """Return an endpoint as it stands now."""
    row = site.database.row("SELECT * FROM endpoints WHERE owner = ? AND name = ?", owner, name)
    if row is None:
        raise RefusalError(404, f"Endpoint not found: {owner}/{name}")
    if row["state"] == "running" and site.endpoints is not None and site.endpoints.find(row["id"]) is None:
        row = site.database.row("SELECT * FROM endpoints WHERE id = ?", row["id"])
        assert row is not None
    return row
