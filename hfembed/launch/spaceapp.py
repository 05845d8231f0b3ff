"""Space app: what a training Space runs; it travels as text and knows the standard library and the bootstrap alone.

It starts the bootstrap beside it, shows how the run stands on its page, keeps the log in the run's repo, since a Space's
own goes with it, and pauses the Space. Started again, it goes on with the run; one that is done it does not do again.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, build_opener

from hfembed.launch.bootstrap import SameHost

CONFIG = "HFEMBED_LAUNCH"
HERE = Path(__file__).parent
PAGE, BOOTSTRAP = HERE / "page.html", HERE / "hfembed" / "launch" / "bootstrap.py"
PORT = 7860
TRIES, WAIT_SECONDS, LONGEST_WAIT_SECONDS, REQUEST_SECONDS = 20, 0.5, 10.0, 30
LOST = (408, 409, 412, 429, 500, 502, 503, 504)
# Lines that are kept for the page, and bytes of the log that are kept in the repo.
LINES, LOG_BYTES = 5_000, 1_000_000
# Between asking a run whose time is up to end, and insisting.
GRACE_SECONDS = 60.0


class Repo:
    """The repo that keeps the run, through the Hub's own interface."""

    def __init__(self, name: str) -> None:
        """Address it with the Space's own token."""
        self.endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        self.name = name
        self._opener = build_opener(SameHost)

    def read(self, path: str) -> bytes | None:
        """Return a file as it is now; nothing where there is none."""
        try:
            return self.ask(f"datasets/{self.name}/resolve/main/{path}")
        except HTTPError as error:
            if error.code == 404:
                return None
            raise

    def commit(self, summary: str, path: str, content: bytes | None) -> None:
        """Write a file, or remove it."""
        lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": summary, "description": ""}}]
        if content is None:
            lines.append({"key": "deletedFile", "value": {"path": path}})
        else:
            encoded = base64.b64encode(content).decode()
            lines.append({"key": "file", "value": {"path": path, "content": encoded, "encoding": "base64"}})
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        self.ask(f"api/datasets/{self.name}/commit/main", body, "application/x-ndjson")

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """Ask the Hub; where it does not answer, ask again for a while."""
        address = f"{self.endpoint}/{path}"
        headers = {"Content-Type": kind} if body is not None else {}
        if os.environ.get("HF_TOKEN"):
            headers["Authorization"] = "Bearer " + os.environ["HF_TOKEN"]
        for attempt in range(1, TRIES + 1):
            try:
                with self._opener.open(Request(address, body, headers), timeout=REQUEST_SECONDS) as answer:
                    return bytes(answer.read())
            except HTTPError as error:
                if error.code not in LOST or attempt == TRIES:
                    raise
            except OSError:
                if attempt == TRIES:
                    raise
            time.sleep(min(LONGEST_WAIT_SECONDS, WAIT_SECONDS * attempt))
        raise AssertionError("the loop returns or raises")


class Work:
    """The run as this Space sees it."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Know what is to be done; nothing is started yet."""
        self.config = config
        self.repo = Repo(config["repo"])
        self.status = "working"
        self.outcome: dict[str, Any] | None = None
        self._lines: list[str] = []
        self._dropped = 0
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._began = time.time()
        self._ended = False
        self._hidden = [os.environ[name] for name in config["secrets"] if os.environ.get(name)]

    def look(self) -> bool:
        """Return whether the run is to be worked on; how an earlier start of this attempt ended no longer counts."""
        if self._read_outcome() is None:
            return True
        if self.outcome is not None and self.outcome["error"] is None:
            return False
        self.repo.commit("Go on after a restart", self.config["outcome"], None)
        self.outcome = None
        return True

    def run(self) -> None:
        """Do what is left of the run, in the time that is left of it."""
        seconds = max(1.0, self.config["seconds"] - self._spent())
        command = [sys.executable, str(BOOTSTRAP), *self.config["arguments"]]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if self._ended:  # it was asked to while this began
            self._process.terminate()
        timers = [
            threading.Timer(seconds, self._process.send_signal, [signal.SIGALRM]),
            threading.Timer(seconds + GRACE_SECONDS, self._process.kill),
        ]
        for timer in timers:
            timer.daemon = True
            timer.start()
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, b""):
            self.say(line.decode("utf-8", "replace").rstrip("\r\n"))
        code = self._process.wait()
        for timer in timers:
            timer.cancel()
        self.status = "finished" if code == 0 else "failed"
        if code < 0 and not self._ended:
            self.say(f"The run's process was ended by {signal.Signals(-code).name}.")

    def end(self, number: int, frame: FrameType | None) -> None:
        """Hear that the Space is about to go away: the run keeps what is done."""
        self._ended = True
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """Keep the log, and pause the Space unless it goes away anyway."""
        try:
            self._keep_log()
            self._read_outcome()
        except OSError as error:
            self.say(f"The log could not be kept: {error}")
        if self._ended:
            raise SystemExit(0)
        try:
            self.repo.ask(f"api/spaces/{os.environ['SPACE_ID']}/pause", b"")
        except OSError as error:
            self.say(f"This Space could not pause itself, and goes on costing: {error}. May its token write to it?")

    def say(self, line: str) -> None:
        """Put a line into the Space's log and onto its page, without what is secret."""
        for secret in self._hidden:
            line = line.replace(secret, "***")
        with self._guard:
            self._lines.append(line)
            if len(self._lines) > 2 * LINES:
                self._dropped += LINES
                del self._lines[:LINES]
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def state(self, after: int) -> dict[str, Any]:
        """Return what the page shows, with the lines from one number on."""
        with self._guard:
            lines, total = self._lines[max(0, after - self._dropped) :], self._dropped + len(self._lines)
        told = {name: self.config[name] for name in ("title", "id", "stages", "repo", "mark", "attempt")}
        return {
            **told,
            "endpoint": self.repo.endpoint,
            "status": self.status,
            "outcome": self.outcome,
            "seconds": time.time() - self._began,
            "lines": lines,
            "next": total,
        }

    def _read_outcome(self) -> dict[str, Any] | None:
        content = self.repo.read(self.config["outcome"])
        found: dict[str, Any] | None = json.loads(content) if content else None
        self.outcome = found if found and found["attempt"] == self.config["attempt"] else None
        return self.outcome

    def _spent(self) -> float:
        """Return for how long earlier starts of this attempt worked, by the events that were kept."""
        submitted = datetime.fromisoformat(self.config["submitted"]).timestamp()
        times = []
        for line in (self.repo.read(self.config["events"]) or b"").splitlines():
            try:
                times.append(float(json.loads(line)["time"]))
            except (ValueError, KeyError):
                continue  # cut short where the machine was lost
        times = [moment for moment in times if moment >= submitted]
        return max(times) - min(times) if times else 0.0

    def _keep_log(self) -> None:
        earlier = self.repo.read(self.config["log"]) or b""
        with self._guard:
            lines = "".join(line + "\n" for line in self._lines).encode()
        self.repo.commit("Keep the log", self.config["log"], (earlier + lines)[-LOG_BYTES:])


class Page(BaseHTTPRequestHandler):
    """The Space's page."""

    def __init__(self, work: Work, *arguments: Any) -> None:
        """Show `work`."""
        self._work = work
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer with the page, or with what it shows."""
        address = urlsplit(self.path)
        if address.path == "/state":
            after = parse_qs(address.query).get("after", ["0"])[0]
            state = self._work.state(int(after) if after.isdigit() else 0)
            self._answer(json.dumps(state).encode(), "application/json")
        elif address.path == "/":
            self._answer(PAGE.read_bytes(), "text/html; charset=utf-8")
        else:
            self.send_error(404)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing: the log is the run's."""

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Work, and show it."""
    work = Work(json.loads(os.environ[CONFIG]))
    signal.signal(signal.SIGTERM, work.end)
    is_left = work.look()  # before anyone can see this Space running
    address = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), int(os.environ.get("GRADIO_SERVER_PORT", PORT))
    server = ThreadingHTTPServer(address, partial(Page, work))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if is_left:
        work.run()
    else:
        work.status = "finished"
        work.say("This run is done already.")
    work.close()
    while True:  # until the Hub ends it
        signal.pause()


if __name__ == "__main__":
    main()
