"""Running Spaces: the app of a gradio Space as a process of this machine, where the server was told to."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.localhub.checkout import write_files
from hfembed.localhub.gitread import find_entry, resolve_revision
from hfembed.localhub.logs import add_line, last_lines
from hfembed.localhub.processes import base_environment, read_result, start_process
from hfembed.localhub.records import RepoRecord
from hfembed.localhub.sealing import unseal
from hfembed.localhub.site import Site
from hfembed.localhub.spaces import ACTIVE, app_file, folder_of_space, front_matter, set_stage
from hfembed.localhub.spacesignin import sign_in_variables

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.1
# As on the Hub: an app that does not listen by then has failed.
_START_SECONDS = 30 * 60
_REASON_LINES = 20
_TEMPORARY = "tmp"
_HOST = Path(__file__).with_name("spacehost.py")
_ENDED = "The server that ran this Space has ended. Restart the Space to run it again."


@dataclass
class Run:
    """One run of a Space's app."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]


class SpaceRunner:
    """The Spaces that this server runs; each has at most one process."""

    def __init__(self, site: Site, endpoint: str) -> None:
        """Run Spaces of a site, which find this Hub at `endpoint`; what an earlier server ran has ended with it."""
        self._site = site
        self._endpoint = endpoint
        self._runs: dict[str, Run] = {}
        self._launches: dict[str, threading.Thread] = {}
        self._ending: list[subprocess.Popen[bytes]] = []
        self._guard = threading.RLock()
        # Counts what was asked of a Space, so that an older launch knows that it is outdated.
        self._asked: dict[str, int] = {}
        for row in site.database.rows("SELECT repo, stage FROM spaces"):
            if row["stage"] in ACTIVE:
                set_stage(site, row["repo"], "STOPPED", _ENDED)

    def launch(self, record: RepoRecord) -> None:
        """Build and start a Space from its main branch, in place of what runs of it now."""
        with self._guard:
            asked = self._next(record.key)
            set_stage(self._site, record.key, "RUNNING_BUILDING" if record.key in self._runs else "BUILDING")
            thread = threading.Thread(target=self._build, args=(record, asked), name=f"space-{record.key}", daemon=True)
            self._launches[record.key] = thread
            thread.start()

    def halt(self, key: str, stage: str, message: str | None = None) -> None:
        """End what runs of a Space, and say in which stage it is then."""
        with self._guard:
            self._next(key)
            set_stage(self._site, key, stage, message)
            self._end(key)

    def forget(self, key: str) -> None:
        """End a Space that is deleted, and remove all that was written for it."""
        with self._guard:
            self._next(key)
            self._end(key)
            ending = list(self._ending)
        for process in ending:
            process.wait()
        shutil.rmtree(folder_of_space(self._site, key), ignore_errors=True)

    def look(self) -> None:
        """Notice which apps have ended, and put those to sleep that nobody visits."""
        with self._guard:
            self._ending = [process for process in self._ending if process.poll() is None]
            keys = list(self._runs)
        visited = _visited_ports()
        for key in keys:
            self.refresh(key)
            self._let_sleep(key, visited)

    def refresh(self, key: str) -> None:
        """Notice whether the app of a Space listens by now, or has ended."""
        with self._guard:
            run = self._runs.get(key)
            row = self._site.database.row("SELECT stage FROM spaces WHERE repo = ?", key)
            if run is None or row is None:
                return
            if run.process.poll() is not None:
                self._end(key)
                # While the next one is built, what has ended is only the last one.
                if row["stage"] != "RUNNING_BUILDING":
                    set_stage(self._site, key, "RUNTIME_ERROR", _reason(run))
            elif row["stage"] == "APP_STARTING" and _listens(run.port):
                set_stage(self._site, key, "RUNNING")
                self.visit(key)

    def visit(self, key: str) -> None:
        """Note that someone looks at a Space, so that it stays awake."""
        self._site.database.run("UPDATE space_runs SET visited_at = ? WHERE repo = ?", time.time(), key)

    def close(self) -> None:
        """End every Space that this server runs."""
        with self._guard:
            for key in {*self._runs, *self._launches}:
                row = self._site.database.row("SELECT stage FROM spaces WHERE repo = ?", key)
                if row is not None and row["stage"] in ACTIVE:
                    self.halt(key, "STOPPED", _ENDED)
            waiting = [*self._launches.values()]
        for thread in waiting:
            thread.join()
        for process in self._ending:
            process.wait()

    def _next(self, key: str) -> int:
        self._asked[key] = self._asked.get(key, 0) + 1
        return self._asked[key]

    def _end(self, key: str) -> None:
        run = self._runs.pop(key, None)
        if run is not None:
            run.process.terminate()
            self._ending.append(run.process)

    def _build(self, record: RepoRecord, asked: int) -> None:
        folder = folder_of_space(self._site, record.key) / uuid.uuid4().hex[:24]
        try:
            (folder / "work").mkdir(parents=True, mode=0o700)
            self._site.database.run(
                "INSERT INTO space_runs (repo, run) VALUES (?, ?) ON CONFLICT (repo) DO UPDATE SET run = ?",
                record.key,
                folder.name,
                folder.name,
            )
            self._prepare_and_start(record, asked, folder)
        except Exception as error:
            _log.exception("The Space %s could not be started", record.full_name)
            with self._guard:
                if self._asked[record.key] == asked:
                    add_line(folder / "build.jsonl", f"The build failed: {error}")
                    set_stage(self._site, record.key, "BUILD_ERROR", str(error))
        finally:
            with self._guard:
                if self._launches.get(record.key) is threading.current_thread():
                    del self._launches[record.key]

    def _prepare_and_start(self, record: RepoRecord, asked: int, folder: Path) -> None:
        """Check the repository out, end what ran before, and start the app."""
        build_log = folder / "build.jsonl"
        with self._site.open_git(record) as repo:
            commit_id = resolve_revision(repo, "main")
            name = app_file(repo, commit_id)
            entry, card = find_entry(repo, commit_id, name), front_matter(repo, commit_id)
        if entry is None or entry.is_folder:
            self.halt(record.key, "NO_APP_FILE", f"There is no {name} in this Space.")
            return
        add_line(build_log, f"===== Build of {record.full_name} at {commit_id} =====")
        count = write_files(self._site, record, commit_id, folder / "work")
        add_line(build_log, f"{count} files checked out. The app is {name}.")
        add_line(build_log, f"requirements.txt is not installed: the app runs in the environment of {sys.executable}.")
        with self._guard:
            if self._asked[record.key] != asked:
                add_line(build_log, "Not started: something else was asked of this Space meanwhile.")
                return
            self._end(record.key)
            before = list(self._ending)
        # Two runs of one Space never write at the same time.
        for process in before:
            process.wait()
        with self._guard:
            if self._asked[record.key] == asked:
                self._start(record, folder, name, card, commit_id)

    def _start(self, record: RepoRecord, folder: Path, name: str, card: dict[str, Any], commit_id: str) -> None:
        row = self._site.database.row("SELECT port FROM space_runs WHERE repo = ?", record.key)
        # The same address as before where it can be had: what a browser keeps, it keeps for an address.
        port = _free_port(row["port"] if row else None)
        environment = _environment(self._site, record, folder, self._endpoint, port, card)
        process = start_process(folder, [sys.executable, str(_HOST), name], environment, ends_with_server=True)
        self._runs[record.key] = Run(folder, port, process)
        self._site.database.run(
            "UPDATE space_runs SET port = ?, process = ?, commit_id = ?, visited_at = ? WHERE repo = ?",
            port,
            process.pid,
            commit_id,
            time.time(),
            record.key,
        )
        self._site.database.run("UPDATE spaces SET hardware = requested WHERE repo = ?", record.key)
        set_stage(self._site, record.key, "APP_STARTING")
        for older in folder.parent.iterdir():
            if older != folder and older.name != _TEMPORARY:
                shutil.rmtree(older, ignore_errors=True)
        threading.Thread(target=self._await_app, args=(record.key, process), daemon=True).start()

    def _await_app(self, key: str, process: subprocess.Popen[bytes]) -> None:
        """Look often until the app listens, so that its visitors need not wait for the next tick of the clock."""
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            self.refresh(key)
            row = self._site.database.row("SELECT stage FROM spaces WHERE repo = ?", key)
            if row is None or row["stage"] != "APP_STARTING":
                return
            time.sleep(_LOOK_SECONDS)
        if process.poll() is None:
            self.halt(key, "RUNTIME_ERROR", "Launch timed out: the app did not listen on GRADIO_SERVER_PORT.")

    def _let_sleep(self, key: str, visited: set[int]) -> None:
        row = self._site.database.row(
            "SELECT stage, sleep_seconds, visited_at FROM spaces JOIN space_runs ON space_runs.repo = spaces.repo "
            "WHERE spaces.repo = ?",
            key,
        )
        run = self._runs.get(key)
        if row is None or run is None or row["stage"] != "RUNNING" or (row["sleep_seconds"] or 0) <= 0:
            return
        if run.port in visited:
            self.visit(key)
        elif time.time() - row["visited_at"] > row["sleep_seconds"]:
            self.halt(key, "SLEEPING")


def _environment(
    site: Site, record: RepoRecord, folder: Path, endpoint: str, port: int, card: dict[str, Any]
) -> dict[str, str]:
    """Return the environment of a Space's app: what every Space has, then its variables and its secrets."""
    row = site.database.row("SELECT requested FROM spaces WHERE repo = ?", record.key)
    base = base_environment(folder, endpoint, str(row["requested"]) if row else "cpu-basic")
    # On the Hub each Space is alone on its machine; here it has at least its own place for what is temporary.
    temporary = folder_of_space(site, record.key) / _TEMPORARY
    temporary.mkdir(mode=0o700, exist_ok=True)
    host = f"127.0.0.1:{port}"
    facts = {
        "TMPDIR": str(temporary),
        "SYSTEM": "spaces",
        "SPACE_ID": record.full_name,
        "SPACE_HOST": host,
        "SPACE_AUTHOR_NAME": record.namespace,
        "SPACE_REPO_NAME": record.name,
        "SPACE_TITLE": record.name,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    rows = site.database.rows("SELECT * FROM space_settings WHERE repo = ?", record.key)
    variables = {row["key"]: row["value"] for row in rows if row["type"] == "variables"}
    secrets = {row["key"]: unseal(site.root, row["value"]) for row in rows if row["type"] == "secrets"}
    return base | facts | sign_in_variables(site, record, card, host, endpoint) | variables | secrets


def _reason(run: Run) -> str:
    """Return why an app has ended, in its own last words."""
    result = read_result(run.folder) or {}
    words = "\n".join(last_lines(run.folder / "log.jsonl", _REASON_LINES))
    code = result.get("exit_code")
    start = f"Exit code: {code}." if code is not None else str(result.get("message") or "The app's process was lost.")
    return f"{start} Reason: {words or 'the app ended without a word.'}"


def _free_port(wanted: int | None) -> int:
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            if port is not None:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise OSError("This machine has no free port.")


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _visited_ports() -> set[int]:
    """Return the ports of this machine that someone is connected to, as far as the system tells."""
    established, ports = "01", set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if state == established:
                    ports.add(int(local.rpartition(":")[2], 16))
    return ports
