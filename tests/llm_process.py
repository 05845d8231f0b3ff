"""The scripted language model as a process of its own, and recipes that ask it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders import Listener, job_for, keep_documents, recipe_for, some_documents

from hfembed.events import Events, Reporter
from hfembed.generate import generate
from hfembed.generate.llm import LlmReport, write_queries
from hfembed.generate.query import Query, Split
from hfembed.recipe import LlmTask
from hfembed.run import Run

KEY = "sk-a-key-that-must-stand-nowhere"
SERVER = Path(__file__).with_name("llm_server.py")
START_SECONDS = 60


@dataclass(frozen=True)
class LlmServer:
    """A running server and its log."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def requests(self) -> list[dict[str, Any]]:
        """Return what was asked and answered, in order."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def count(self, what: str) -> Counter[str]:
        """Return how often each record was asked or answered."""
        return Counter(row["record"] for row in self.requests() if row["what"] == what)

    def settings(self, *more: str) -> list[str]:
        """Return recipe settings that ask this server."""
        return [
            "generate.method=llm",
            "generate.llm.model=scripted",
            f"generate.llm.endpoint={self.url}",
            "generate.llm.price_in=1",
            "generate.llm.price_out=2",
            *more,
        ]


@contextmanager
def llm_server(folder: Path, key: str | None = KEY, seconds: float = 0.0, **faults: float) -> Iterator[LlmServer]:
    """Serve until the block ends. faults: shares of requests by kind; a leading underscore is left out."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shares = {name.removeprefix("_"): share for name, share in faults.items()}
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(SERVER), "--port", str(port), "--log", str(folder / "log"), "--faults"]
    command += [json.dumps(shares), "--seconds", str(seconds), *(["--key", key] if key else [])]
    process = subprocess.Popen(command)
    try:
        _wait_for(port, process)
        yield LlmServer(f"http://127.0.0.1:{port}/v1", folder / "log", process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the scripted language model did not start") from None
            time.sleep(0.05)


def as_rows(count: int) -> list[dict[str, str]]:
    return [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in some_documents(count)]


def make(folder: Path, settings: Sequence[str], count: int = 24, listener: Listener | None = None) -> Any:
    """Generate for documents, outside the pipeline; results stand where a run keeps them."""
    run = Run(folder)
    keep_documents(run, as_rows(count))
    report = Reporter("generate", Events(listeners=[] if listener is None else [listener]))
    job = job_for(run, recipe_for("unused", *settings), "generate", report)
    outcome = generate(job)
    job.out.rename(run.path("triplets"))
    return outcome


def write(
    folder: Path, settings: Sequence[str], count: int = 8, listener: Listener | None = None
) -> tuple[list[Query], LlmReport]:
    """Write queries alone: no filter, no files."""
    run = Run(folder)
    documents = keep_documents(run, as_rows(count))
    report = Reporter("generate", Events(listeners=[] if listener is None else [listener]))
    job = job_for(run, recipe_for("unused", *settings), "generate", report)
    return write_queries(job, documents, list(range(count)), [Split.TRAIN] * count)


def only(**tasks: int) -> str:
    wanted = {task.value: tasks.get(task.value, 0) for task in LlmTask}
    return f"generate.llm.tasks={json.dumps(wanted)}"


ONLY_KEYWORDS = (only(keyword=2), "generate.filters.judge=null")
