"""A live Hub that runs jobs, someone who may run them, and the command line pointed at it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builders import some_documents, write_beir
from gate import PATIENCE, Gate, gated_model
from huggingface_hub import HfApi, constants, file_download
from llm_process import KEY, only

from hfembed.launch.stream import read_event
from hfembed.localhub import LocalHub
from tests.conftest import CHEAP


@dataclass
class Away:
    """The command line of a user of a Hub, in a folder of its own."""

    hub: LocalHub
    token: str
    folder: Path
    environment: dict[str, str]
    output: list[str] = field(default_factory=list)

    @property
    def api(self) -> HfApi:
        """Their client."""
        return HfApi(endpoint=self.hub.url, token=self.token)

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "hfembed", *map(str, arguments)],
            cwd=self.folder, env={**self.environment, **environment}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def call(self, *arguments: str | Path, code: int = 0, **environment: str) -> Any:
        """Call a command that ends so; return the object that it prints."""
        process = self.start(*arguments, "--format", "json", **environment)
        out, err = process.communicate(timeout=PATIENCE)
        self.output += [out, err]
        assert process.returncode == code, err
        assert "Traceback" not in err
        return json.loads(out)

    def error(self, *arguments: str | Path, **environment: str) -> str:
        """Return what a command says that is refused."""
        error = self.call(*arguments, code=2, **environment)["error"]
        assert error["hint"], error
        return f"{error['message']} {error['hint']}"

    def send(self, corpus: Path, place: str, *more: str | Path, **environment: str) -> str:
        """Send the first stages of a run somewhere without staying; return its id."""
        sent = self.call(
            "run", "--corpus", corpus, "--run", "run", "--until", "generate", "--on", place, "--detach", "--yes", *more,
            **environment,
        )  # fmt: skip
        return str(sent["launch"]["id"])

    def wait_for(self, what: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.25)

    def log_of(self, job: str) -> str:
        """Return a job's log as it lies on the Hub's disk."""
        file = self.hub.root / "jobs" / job / "log.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return "\n".join(json.loads(line)["data"] for line in lines)

    def stages_begun(self, job: str) -> list[str]:
        """Return the stages that a job's log tells of."""
        events = filter(None, map(read_event, self.log_of(job).splitlines()))
        return [event.stage for event in events if event.kind == "start"]

    def command_lines(self) -> dict[int, str]:
        """Return what anyone on this machine sees of its processes."""
        found = {}
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it ended while we looked
                if process.name.isdecimal():
                    found[int(process.name)] = (process / "cmdline").read_text(encoding="utf-8", errors="replace")
        return found

    def kill_worker(self, name: str) -> None:
        """Kill -9 the worker of a run, found by its repo or its folder on its command line."""
        for process, command in self.command_lines().items():
            if "\0work\0" in command and name in command:
                os.kill(process, signal.SIGKILL)
                return
        raise AssertionError(f"nobody works on {name}")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """A Hub that the tests of a module share."""
    with LocalHub(root=tmp_path_factory.mktemp("hub"), run_spaces=True) as running:
        yield running


@pytest.fixture(scope="module")
def token(hub: LocalHub) -> str:
    """The token of demo, who belongs to acme."""
    return hub.add_user("demo", ["acme"])


@pytest.fixture
def away(hub: LocalHub, token: str, tmp_path: Path) -> Iterator[Away]:
    """demo's command line; faults that a test asked for end with it."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    yield Away(hub, token, tmp_path, environment)
    hub.set_faults("")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A language model that waits to be told to answer."""
    with gated_model(tmp_path, KEY) as running:
        yield running


@pytest.fixture
def slow(gate: Gate, away: Away) -> list[str]:
    """Return arguments of a run that waits for answers, and keeps those it has at once."""
    away.environment["OPENAI_API_KEY"] = KEY
    settings = [
        "generate.method=llm", "generate.llm.model=scripted", f"generate.llm.endpoint={gate.url}", only(keyword=3),
        "generate.filters.judge=null", "generate.llm.concurrency=1", "train.checkpoint_seconds=0.3",
    ]  # fmt: skip
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def logged_in(hub: LocalHub, token: str, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    """This process as demo's, on that Hub."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setenv("HF_TOKEN", token)
    return hub


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A small corpus that no other test has, with questions by people beside it that must stay here."""
    return write_corpus(tmp_path)


def write_corpus(place: Path) -> Path:
    """Write a small corpus that says where it is from."""
    mark = {"_id": "mark", "title": "Where this is from", "text": f"This handbook was written for {place.name} alone."}
    folder = write_beir(place / "handbook", [*some_documents(23), mark])
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "a question that belongs to nobody else"}\n')
    return folder


@dataclass(frozen=True)
class Here:
    """A whole run that a process of this machine did: its folder, the arguments that make it, and what was told."""

    run: Path
    arguments: tuple[str, ...]
    told: dict[str, Any]


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Here:
    """Do a run here, for those that do it elsewhere to be compared with it: xdist_group("whole")."""
    folder = tmp_path_factory.mktemp("here")
    settings = [part for setting in (*CHEAP, "train.strength=0.5") for part in ("--set", setting)]
    arguments = ("run", "--corpus", str(write_corpus(folder)), "--base", str(tiny_model), *settings)
    done = subprocess.run(
        [sys.executable, "-m", "hfembed", *arguments, "--run", "run", "--on", "local", "--format", "json"],
        cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return Here(folder / "run", arguments, json.loads(done.stdout))
