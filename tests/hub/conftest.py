"""A live local Hub, the people who use it, and the real clients pointed at it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, file_download

from hfembed.localhub import LocalHub
from hfembed.localhub.site import Limits

_numbers = count(1)
# Small limits, so that small files already take the ways that large ones take.
SMALL = Limits(regular_file=100_000, upload_part=150_000)


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """A server that all tests of a worker share; each test makes its own repositories."""
    with LocalHub(root=tmp_path_factory.mktemp("hub"), limits=SMALL) as running:
        yield running


@pytest.fixture(autouse=True)
def endpoint(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do in this process what HF_ENDPOINT does where it is set before the first import."""
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    # 0.x copies it into the module that downloads.
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)


@pytest.fixture(scope="session")
def token(hub: LocalHub) -> str:
    """The write token of demo, a member of acme."""
    return hub.add_user("demo", ["acme"])


@pytest.fixture
def api(hub: LocalHub, token: str) -> HfApi:
    """demo's client."""
    return HfApi(endpoint=hub.url, token=token)


@pytest.fixture
def other(hub: LocalHub) -> HfApi:
    """The client of someone with a write token who belongs to nothing of demo's."""
    return HfApi(endpoint=hub.url, token=hub.add_user("other"))


@pytest.fixture
def anonymous(hub: LocalHub) -> HfApi:
    """The client of nobody."""
    return HfApi(endpoint=hub.url, token=False)


@pytest.fixture
def repo_id(token: str) -> str:
    """A name that no other test uses; nothing stands there yet."""
    return f"demo/repo-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def model(api: HfApi, repo_id: str) -> str:
    """A fresh model repository."""
    return api.create_repo(repo_id).repo_id


@pytest.fixture
def files_with() -> Callable[[Path, str], set[str]]:
    """Find the names of the files below a folder that hold a text.

    Another process looks: closing a file of sqlite in the server's own would take the server's locks off it.
    """

    def find(folder: Path, text: str) -> set[str]:
        done = subprocess.run(["grep", "-rlF", text, str(folder)], capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1), done.stderr
        return {Path(line).name for line in done.stdout.splitlines()}

    return find


@pytest.fixture
def user_environment(hub: LocalHub, token: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who was told HF_ENDPOINT and HF_TOKEN."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return environment | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf-home"),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def in_process(user_environment: dict[str, str], tmp_path: Path) -> Callable[..., str]:
    """Run Python in another process, as a user would, and return what it printed."""

    def run(code: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *arguments],
            env=user_environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
