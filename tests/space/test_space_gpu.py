"""ZeroGPU: with the real `spaces` package, before a service that lends GPUs as the Hub's does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hfembed.resources import PACKAGE
from space import gpu

CALL = """
import sys
from pathlib import Path
sys.modules["torch"] = None  # the package takes a torch apart that was built for CUDA, or none
from hfembed.hub import ModelSource
from space import gpu
assert hasattr(gpu.encode_documents, "zerogpu") == (sys.argv[2] == "borrowed")
folder = Path(sys.argv[1])
try:
    gpu.encode_documents(ModelSource("base", folder, None, "base"), ["a text"] * 4_000, folder)
except Exception as error:
    print(type(error).__module__, getattr(error, "title", error))
"""


@pytest.fixture
def lender() -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    """A service that is asked for GPUs and has none to lend."""
    asked: list[dict[str, list[str]]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(parse_qs(urlsplit(self.path).query))
            content = json.dumps({"left": 0, "wait": 60}).encode()
            self.send_response(429)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()


def call(how: str, tmp_path: Path, **more: str) -> str:
    group = tmp_path / "cgroup"
    group.write_text("0::/a-space\n")
    environment = {**os.environ, **more, "ZEROGPU_PROC_SELF_CGROUP_PATH": str(group), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CALL, str(tmp_path), how],
        cwd=PACKAGE.parent, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_encoding_borrows_a_gpu_for_as_long_as_the_documents_take(
    tmp_path: Path, lender: tuple[str, list[dict[str, list[str]]]]
):
    url, asked = lender
    said = call("borrowed", tmp_path, SPACES_ZERO_GPU="true", SPACES_ZERO_DEVICE_API_URL=url)
    assert "gradio.exceptions ZeroGPU quota exceeded" in said  # what the page shows as it is
    assert [request["durationSeconds"] for request in asked] == [["20"]]


def test_without_zerogpu_nothing_is_borrowed_and_what_is_missing_is_said_in_words(tmp_path: Path):
    assert "hfembed.errors This needs 'torch'" in call("own", tmp_path)


def test_more_texts_borrow_for_longer_within_what_a_visitor_has(monkeypatch: pytest.MonkeyPatch):
    few, many = gpu.seconds_to_encode(1_000), gpu.seconds_to_encode(10_000)
    assert few < many < gpu.MOST_SECONDS == gpu.seconds_to_encode(10**6)
    for value, zero in (("true", True), ("1", True), ("false", False), ("", False)):
        monkeypatch.setenv(gpu.VARIABLE, value)
        assert gpu.is_zero_gpu() is zero
