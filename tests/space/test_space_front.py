"""`hfembed space`: the front end on one's own machine, for its user alone, with the runs of the command line."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import gradio as gr
import pytest
from gradio_client import Client
from typer.testing import CliRunner

from hfembed import front
from hfembed.cli import app
from hfembed.errors import RunError
from hfembed.launch.adopt import adopt
from hfembed.run import LAYOUT, Run
from space.app import launch
from tests.builders import run_until, some_documents, write_jsonl
from tests.conftest import CHEAP
from tests.space.conftest import PATIENCE

pytestmark = pytest.mark.xdist_group("front")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """A run as `hfembed run --until train` leaves it."""
    folder = tmp_path_factory.mktemp("done")
    corpus = write_jsonl(folder / "corpus.jsonl", some_documents(40))
    return run_until(folder / "run", corpus, "train", *CHEAP, base=tiny_model)[0]


@dataclass
class Front:
    """The command at work: its address, and what it prints."""

    process: subprocess.Popen[str]
    url: str


@pytest.fixture(scope="module")
def served_here(done: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    root = tmp_path_factory.mktemp("front")
    with socket.socket() as free:  # another test may look for a free one at this very moment, and find the same
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "hfembed", "space", "--root", str(root), "--no-browser", "--run", str(done.folder),
         "--port", port],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TMPDIR": str(root), "COLUMNS": "200"},
    )  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.readline()
    threading.Thread(target=process.stderr.read, daemon=True).start()
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found, said
    seat = front.Seat(root, int(found[0].rpartition(":")[2]))
    for _ in range(PATIENCE * 10):
        if front.answers(seat):
            break
        assert process.poll() is None
        threading.Event().wait(0.1)
    yield Front(process, seat.url)
    process.kill()
    process.wait()


def test_its_user_needs_no_account_and_finds_the_runs_of_the_command_line(served_here: Front, done: Run) -> None:
    client = Client(served_here.url, verbose=False)
    [one] = client.predict(api_name="/runs")
    assert (one["status"], one["on"]) == ("finished", "local")
    told = client.predict(run=one["run"], api_name="/status")
    assert [stage["name"] for stage in told["stages"]] == ["pull", "generate", "mine", "train"]
    found = client.predict(query="wind", model=f"tuned:{one['run']}", corpus=f"run:{one['run']}", api_name="/search")
    assert found["hits"]


def test_no_page_elsewhere_reaches_it_under_another_name(served_here: Front) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(served_here.url, headers={"Host": "evil.example"}), timeout=20)
    assert refused.value.code == 400


def test_a_page_that_comes_slowly_at_first_does_not_end_the_front_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def look(blocks: gr.Blocks) -> None:
        with urlopen(blocks.local_url, timeout=20) as answer:
            seen.append(answer.status)
        blocks.close(verbose=False)

    seen: list[int] = []
    monkeypatch.setenv("HFEMBED_SPACE_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)  # as after three seconds without an answer
    monkeypatch.setattr(gr.Blocks, "block_thread", look)
    launch()
    assert seen == [200]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null"])
def test_a_page_of_another_address_cannot_ask_it_for_anything(served_here: Front, origin: str) -> None:
    def post(origin: str) -> int:
        asked = Request(
            f"{served_here.url}/gradio_api/call/runs",
            data=b'{"data": []}',
            headers={"Origin": origin, "Content-Type": "application/json"},
        )
        with urlopen(asked, timeout=20) as answer:
            return int(answer.status)

    assert post(served_here.url) == 200
    with pytest.raises(HTTPError) as refused:
        post(origin)
    assert refused.value.code == 403


def test_ctrl_c_ends_it(served_here: Front) -> None:
    served_here.process.send_signal(signal.SIGINT)
    assert served_here.process.wait(PATIENCE) == 0


def test_a_run_is_adopted_once_and_one_without_a_model_is_not(done: Run, tmp_path: Path) -> None:
    first = adopt(done)
    assert adopt(done) == first and first.until == "train"
    assert done.path(LAYOUT.outcome).is_file()
    with pytest.raises(RunError, match="has no model yet"):
        adopt(Run(tmp_path))


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind((front.HOST, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        answer = CliRunner().invoke(app, ["space", "--port", port, "--no-browser"])
    assert answer.exit_code == 2 and f"Port {port} is taken" in " ".join(answer.output.split())


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "find_spec", lambda name: None)
    answer = CliRunner().invoke(app, ["space", "--no-browser"])
    assert answer.exit_code == 2 and 'pip install "hfembed[space,train]"' in answer.output
