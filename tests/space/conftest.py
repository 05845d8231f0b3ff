"""A Space that is really served, and browsers that look at it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from hfembed.localhub import LocalHub
from hfembed.localhub.logs import last_lines
from hfembed.localhub.processes import read_result
from hfembed.resources import PACKAGE
from tests.conftest import CHEAP

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

T = TypeVar("T")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60
LAST_LINES = 60
CHROMIUM = "The browser tests need Debian's Chromium: apt-get update && apt-get install chromium"


@dataclass(frozen=True)
class Served:
    """A running Space."""

    url: str
    root: Path


@dataclass(frozen=True)
class Deployment:
    """A deployed Space: the token of who deployed it, the object that was printed, and the words."""

    token: str
    told: dict[str, Any]
    words: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Served]:
    """Serve app.py for every test that needs no Hub."""
    with serve(tmp_path_factory.mktemp("space"), tiny_model) as served:
        yield served


@contextmanager
def serve(folder: Path, base: Path, more: Mapping[str, str] = MappingProxyType({})) -> Iterator[Served]:
    """Serve app.py as a Space does, with a tiny model and cheap settings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HFEMBED_", "GRADIO_"))}
    environment = {
        **kept,
        "TMPDIR": str(folder),
        "HF_HOME": str(folder / "hf-home"),
        "HF_HUB_OFFLINE": "1",
        "HFEMBED_CACHE": str(folder / "cache"),
        "HFEMBED_SPACE_ROOT": str(folder / "runs"),
        "HFEMBED_SPACE_BASES": str(base),
        "HFEMBED_SPACE_SET": " ".join(CHEAP),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        **more,
    }
    log = (folder / "server.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "app.py"], cwd=PACKAGE.parent, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, server, folder / "server.log")
        yield Served(url, folder / "runs")
    finally:
        server.terminate()
        server.wait(PATIENCE)
        log.close()


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine gives, run in a thread of its own: this one's loop may be that of another test's browser."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start one headless Chromium."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE * 1000)

    binary = shutil.which("chromium")
    if binary is None:
        pytest.fail(CHROMIUM, pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[Callable[[], BrowserContext]]:
    """Make visitors: each has cookies and storage of their own, and sees nothing but the Space."""
    opened: list[BrowserContext] = []

    def make(width: int = 1280, height: int = 900) -> BrowserContext:
        visitor = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        visitor.set_default_timeout(PATIENCE * 1000)
        visitor.route(
            lambda url: not url.startswith(("http://127.0.0.1", "data:", "blob:")), lambda route: route.abort()
        )
        opened.append(visitor)
        return visitor

    yield make
    for visitor in opened:
        visitor.close()


@pytest.fixture
def page(served: Served, context: Callable[[], BrowserContext]) -> Page:
    """Open the Space as a new visitor."""
    return open_space(context(), served)


def open_space(visitor: BrowserContext, served: Served) -> Page:
    """Open the Space and wait until the form can be used."""
    page = visitor.new_page()
    page.goto(served.url)
    page.get_by_text("Ready to launch.").wait_for()
    return page


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    pytest.fail(f"The Space did not come up: {log.read_text()}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Iterator[None]:
    """Show beside a failed test what the Spaces said that it looked at."""
    report = yield
    if report.failed and "hub_of_spaces" in item.funcargs:
        for log in sorted(item.funcargs["hub_of_spaces"].root.glob("spaces/*/*/log.jsonl")):
            ended = read_result(log.parent)
            said = [*last_lines(log, LAST_LINES), *([f"ended: {ended}"] if ended else [])]
            report.sections.append((f"Space {log.parent.name}", "\n".join(said)))
    return report


@pytest.fixture(scope="session")
def hub_of_spaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """Serve a Hub that runs Spaces."""
    with LocalHub(tmp_path_factory.mktemp("hub-of-spaces"), run_spaces=True) as hub:
        yield hub


@pytest.fixture(scope="session")
def deployed(hub_of_spaces: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Deploy the front end to that Hub, as its user `demo` does on the command line."""
    token = hub_of_spaces.add_user("demo", ["acme"])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HFEMBED_", "GRADIO_"))}
    environment = {
        **kept,
        "HF_ENDPOINT": hub_of_spaces.url,
        "HF_TOKEN": token,
        "HF_HOME": str(tmp_path_factory.mktemp("deployer")),
    }
    done = subprocess.run(
        [sys.executable, "-m", "hfembed", "space", "deploy", "acme/search", "--format", "json"],
        capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Deployment(token, json.loads(done.stdout), done.stderr)
