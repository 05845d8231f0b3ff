"""A Space is made from this very code by one command, and whoever duplicates it needs nothing else."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest
from huggingface_hub import HfApi, constants
from typer.testing import CliRunner

from hfembed.cli import app
from hfembed.deploy import Wanted, deploy
from hfembed.deploy.files import space_files
from hfembed.errors import HubError, InputError
from hfembed.events import silent
from hfembed.launch.bundle import WHEEL_NAME
from hfembed.localhub import LocalHub
from tests.space.conftest import Deployment

pytestmark = pytest.mark.xdist_group("deployed")


@pytest.fixture
def owner(hub_of_spaces: LocalHub, deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    """The client of who deployed it, who is also logged in here."""
    monkeypatch.setattr(constants, "ENDPOINT", hub_of_spaces.url)
    monkeypatch.setenv("HF_TOKEN", deployed.token)
    return HfApi(endpoint=hub_of_spaces.url, token=deployed.token)


@pytest.fixture
def quiet_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HfApi]:
    """A Hub that declares Spaces and runs none, which is quicker."""
    with LocalHub(tmp_path / "hub") as hub:
        token = hub.add_user("demo")
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", token)
        yield HfApi(endpoint=hub.url, token=token)


def test_one_command_makes_a_space_that_runs(deployed: Deployment, owner: HfApi) -> None:
    told = deployed.told
    assert (told["space"], told["stage"], told["hardware"]) == ("acme/search", "RUNNING", "zero-a10g")
    assert told["url"].endswith("/spaces/acme/search") and told["url"] in deployed.words
    with urlopen(told["address"], timeout=20) as page:
        assert b"hfembed" in page.read()
    files = set(owner.list_repo_files("acme/search", repo_type="space"))
    assert files - {".gitattributes"} == {"README.md", "requirements.txt", "app.py", f"wheel/{WHEEL_NAME}"}
    assert not owner.get_space_variables("acme/search") and not owner.space_info("acme/search").private


def test_the_same_again_changes_nothing(deployed: Deployment, owner: HfApi) -> None:
    commits = len(owner.list_repo_commits("acme/search", repo_type="space"))
    again = deploy(Wanted("acme/search"), silent())
    assert (again.revision, again.address) == (deployed.told["revision"], deployed.told["address"])
    assert len(owner.list_repo_commits("acme/search", repo_type="space")) == commits


def test_a_pull_request_leaves_what_runs_alone(deployed: Deployment, owner: HfApi) -> None:
    opened = deploy(Wanted("acme/search", pull_request=True), silent())
    assert opened.pull_request == 1
    assert owner.space_info("acme/search").sha == deployed.told["revision"]


def test_somebody_else_duplicates_it_without_a_secret_and_it_runs(
    deployed: Deployment, owner: HfApi, hub_of_spaces: LocalHub
) -> None:
    other = HfApi(endpoint=hub_of_spaces.url, token=hub_of_spaces.add_user("bea"))
    other.duplicate_space("acme/search", "bea/search", hardware="cpu-basic", private=True)
    deadline = time.monotonic() + 120
    while (runtime := other.get_space_runtime("bea/search")).stage in ("BUILDING", "APP_STARTING"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert runtime.stage == "RUNNING", runtime.raw
    with urlopen(str(other.space_info("bea/search").host), timeout=20) as page:
        assert b"hfembed" in page.read()
    other.delete_repo("bea/search", repo_type="space")


def test_a_space_that_does_not_come_up_says_why_and_where_its_log_is(owner: HfApi) -> None:
    owner.create_repo("acme/broken", repo_type="space", space_sdk="gradio")
    owner.add_space_variable("acme/broken", "HFEMBED_SPACE_MAX_MB", "plenty")
    with pytest.raises(HubError, match="does not run: RUNTIME_ERROR") as caught:
        deploy(Wanted("acme/broken"), silent())
    assert "plenty" in caught.value.message and caught.value.hint.endswith("/spaces/acme/broken?logs=container")


def test_the_code_that_runs_is_the_wheels_also_in_the_processes_it_starts(tmp_path: Path) -> None:
    for name, content in space_files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    code = """
        import importlib, subprocess, sys
        real = importlib.import_module
        class FrontEnd:
            def launch(self):
                code = "import hfembed.space; print(hfembed.__file__)"
                print(sys.modules["hfembed"].__file__, flush=True)
                subprocess.run([sys.executable, "-c", code], check=True)
        importlib.import_module = lambda name, *more: FrontEnd() if name == "hfembed.space.app" else real(name, *more)
        import app
        app.main()
        """
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin"}
    for _ in range(2):  # the second start finds what the first one unpacked
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        here, there = map(Path, done.stdout.split())
        assert here == there and here.is_relative_to(tmp_path) and "wheel" not in here.parts
    assert len(list(tmp_path.glob("hfembed-*"))) == 1


def test_nothing_of_the_owner_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_owner")
    for name, content in space_files().items():
        assert b"hf_of_the_owner" not in content and str(Path.home()).encode() not in content, name
    assert space_files() == space_files()


def test_what_is_there_is_only_changed_where_that_is_asked_for(quiet_hub: HfApi) -> None:
    wanted = Wanted("demo/one", flavor="cpu-basic", private=True)
    quiet_hub.create_repo("demo/one", repo_type="space", space_sdk="gradio", space_hardware="cpu-upgrade")
    with pytest.raises(HubError, match="STOPPED"):  # this Hub runs no Spaces
        deploy(replace(wanted, flavor=None, private=False), silent())
    assert not quiet_hub.space_info("demo/one").private
    assert quiet_hub.get_space_runtime("demo/one").requested_hardware == "cpu-upgrade"
    with pytest.raises(HubError, match="hfembed hub serve --spaces"):
        deploy(wanted, silent())
    assert quiet_hub.space_info("demo/one").private
    assert quiet_hub.get_space_runtime("demo/one").requested_hardware == "cpu-basic"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search"], "'search' is no name of a Space"),
        (["../search"], "is no name of a Space"),
        (["demo/x", "--hardware", "l4"], "'l4' is no hardware of Spaces"),
        (["demo/x", "--hardware", "l4x1"], "nobody is here to say yes"),
        (["demo/x", "--sleep", "soon"], "--sleep is 'soon'"),
    ],
)
def test_wrong_inputs_are_refused_in_words_and_nothing_is_made(
    quiet_hub: HfApi, arguments: list[str], words: str
) -> None:
    done = CliRunner().invoke(app, ["space", "deploy", *arguments])
    assert done.exit_code == 2 and words in " ".join(done.output.split())
    assert list(quiet_hub.list_spaces(author="demo")) == []


def test_a_name_of_nobody_is_refused() -> None:
    with pytest.raises(InputError, match="no name of a Space"):
        deploy(Wanted("a/b/c"), silent())


def test_what_its_owner_paused_stays_paused(deployed: Deployment, owner: HfApi) -> None:
    owner.create_repo("acme/resting", repo_type="space", space_sdk="gradio")
    owner.pause_space("acme/resting")
    done = deploy(Wanted("acme/resting"), silent())
    assert (done.stage, done.address) == ("PAUSED", None)
    assert "app.py" in owner.list_repo_files("acme/resting", repo_type="space")
