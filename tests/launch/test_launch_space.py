"""Runs in a training Space: the same weights as here, its page, its pause, and everything that can come between."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate import ANSWERS, Gate, kept_answers
from llm_process import KEY
from safetensors.numpy import load_file
from test_launch_parts import launch_of

from hfembed.hub.runs import RunRepo
from hfembed.hub.spaces import Space
from hfembed.launch.space import PAGE, HubSpaces
from hfembed.run import Run

STUBBORN = b"""
import http.server, os
http.server.HTTPServer(("", int(os.environ["GRADIO_SERVER_PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def stage_of(away, space: str) -> str:
    return str(away.api.get_space_runtime(space).stage)


def page_of(away, space: str, path: str) -> Any:
    """Return what the page of a Space shows, as its script asks for it."""
    host = away.api.space_info(space).host
    with urllib.request.urlopen(f"{host}{path}", timeout=10) as answer:
        return answer.read().decode()


def space_of(identity: str) -> str:
    return f"demo/hfembed-run-{identity}"


@pytest.mark.xdist_group("whole")
def test_a_space_pushes_the_model_that_a_process_here_makes_and_pauses_itself(away, here):
    there = away.call(
        *here.arguments, "--run", "there", "--on", "space:cpu-basic", "--yes", "--model-repo", "demo/search-space"
    )  # fmt: skip
    launch, outcome = there["launch"], there["outcome"]
    space = launch["repo"]
    assert here.told["verdict"] == there["verdict"] == outcome["verdict"]
    pushed = load_file(away.api.hf_hub_download("demo/search-space", "model.safetensors"))
    weights = load_file(here.run / "model" / "model.safetensors")
    assert set(weights) == set(pushed) and len(weights) > 10
    for name, values in weights.items():
        assert np.abs(values - pushed[name]).max() <= 1e-6, name
    away.wait_for(lambda: stage_of(away, space) == "PAUSED")
    info = away.api.space_info(space)
    assert info.private and info.runtime.requested_hardware == "cpu-basic"
    kept = Path(away.api.hf_hub_download(space, "logs/1.txt", repo_type="dataset")).read_text()
    assert "/site/hfembed" in kept, "the checkout ran, not the wheel that was sent"

    # What is done is not done again: whoever starts the Space anew sees it pause itself once more.
    away.api.restart_space(space)
    away.wait_for(lambda: stage_of(away, space) == "PAUSED")
    log = Path(away.api.hf_hub_download(space, "logs/1.txt", repo_type="dataset")).read_text()
    assert log == kept + "This run is done already.\n"
    assert away.call("status", launch["id"])["standing"]["stage"] == "COMPLETED"

    # The Space's own log may be gone by now: the repo's is shown.
    lines = away.call("logs", launch["id"])["lines"]
    assert "[launch] all is done" in lines and lines.count("[push] start") <= 1
    assert away.token not in "".join(away.output) + log
    for place in (away.folder, away.hub.root):
        found = subprocess.run(["grep", "-rlaF", away.token, str(place)], capture_output=True, text=True, timeout=60)
        assert found.stdout == "", found.stdout
    for name in away.api.list_repo_files(space, repo_type="space"):
        content = Path(away.api.hf_hub_download(space, name, repo_type="space")).read_bytes()
        assert away.token.encode() not in content, name


@pytest.mark.long
def test_a_run_in_a_space_is_left_rebooted_cancelled_deleted_and_goes_on_each_time(
    away, corpus: Path, slow: list[str], gate: Gate
):
    gate.allow(3)
    identity = away.send(corpus, "space:cpu-basic", *slow)
    space = space_of(identity)
    following = away.start("logs", "-f", identity)
    away.wait_for(lambda: "generate" in following.stderr.readline())
    following.send_signal(signal.SIGINT)
    _, words = following.communicate(timeout=60)
    assert following.returncode == 130 and f"hfembed logs -f {identity}" in words

    away.wait_for(lambda: kept_answers(away, identity) == 3)
    assert away.call("status", identity)["standing"]["stage"] == "RUNNING"
    again = ("run", "--corpus", corpus, "--until", "generate", "--on", "space:t4-small", "--yes", *slow)
    assert identity in away.error(*again, "--run", "other")
    state = json.loads(page_of(away, space, "/state"))
    assert (state["status"], state["stages"], state["id"]) == ("working", ["pull", "generate"], identity)
    assert any('"kind": "done", "stage": "pull"' in line for line in state["lines"])
    assert page_of(away, space, "/") == PAGE.read_text()
    assert away.token not in json.dumps(state) and KEY not in json.dumps(state)
    _no_process_shows(away.token, KEY)

    # A reboot in the middle: whoever follows sees it go on, and nothing that was answered is asked again.
    asked = gate.asked
    gate.allow(2)
    following = away.start("logs", "-f", identity)
    away.api.restart_space(space, factory_reboot=True)
    away.wait_for(lambda: kept_answers(away, identity) == 5)
    assert gate.asked - asked <= 2 + 1
    assert away.call("cancel", "run") == {"id": identity, "cancelled": True}
    _, words = following.communicate(timeout=60)
    assert following.returncode == 2 and "ended before it was done" in words and "--resume" in words
    assert stage_of(away, space) == "PAUSED"
    assert away.call("cancel", "run", "--delete") == {"id": identity, "cancelled": False, "deleted": True}
    assert not away.api.repo_exists(space, repo_type="space")
    assert f"{identity} ended before it was done" in away.error("status", identity)

    asked = gate.asked
    gate.allow()
    done = away.call("run", "--resume", identity, "--yes", "--run", "run")
    assert [entry["launcher"] for entry in done["launch"]["attempts"]] == ["space", "space"]
    assert done["outcome"]["attempt"] == 2 and done["outcome"]["error"] is None
    assert [stage["name"] for stage in done["stages"]] == ["pull", "generate"]
    assert gate.asked - asked == ANSWERS - 5, "what had been answered was asked for again"
    assert KEY not in "".join(away.output) and away.token not in "".join(away.output)


def test_a_space_whose_run_is_killed_says_so_and_is_resumed_where_it_stands_while_the_hub_is_away(
    away, corpus: Path, slow: list[str], gate: Gate
):
    gate.allow(4)
    identity = away.send(corpus, "space:cpu-basic", *slow)
    space = space_of(identity)
    away.wait_for(lambda: kept_answers(away, identity) == 4)
    away.kill_worker(space)
    away.wait_for(lambda: stage_of(away, space) == "PAUSED")
    said = away.error("logs", "-f", identity)
    assert "ended by SIGKILL" in said and f"--resume {identity}" in said
    asked = gate.asked
    gate.allow(2)
    onwards = ("run", "--resume", identity, "--on", "space:cpu-upgrade", "--yes", "--run", "run", "--format", "json")
    following = away.start(*onwards)
    away.wait_for(lambda: kept_answers(away, identity) == 6)
    away.hub.set_faults("rate=1,status=503")
    gate.allow()
    with pytest.raises(subprocess.TimeoutExpired):
        following.communicate(timeout=4)
    away.hub.set_faults("")
    out, words = following.communicate(timeout=120)
    assert following.returncode == 0, words
    done = json.loads(out)
    assert [entry["flavor"] for entry in done["launch"]["attempts"]] == ["cpu-basic", "cpu-upgrade"]
    assert gate.asked - asked == ANSWERS - 4
    away.wait_for(lambda: stage_of(away, space) == "PAUSED")
    assert away.api.get_space_runtime(space).requested_hardware == "cpu-upgrade"


@pytest.mark.long
def test_a_space_whose_time_is_up_says_so_and_pauses(away, corpus: Path, slow: list[str], gate: Gate):
    gate.allow(1)
    identity = away.send(corpus, "space:cpu-basic", *slow, "--timeout", "12s")
    said = away.error("logs", "-f", identity)
    assert "its time was up" in said and f"--resume {identity}" in said
    away.wait_for(lambda: stage_of(away, space_of(identity)) == "PAUSED")
    assert away.api.get_space_runtime(space_of(identity)).sleep_time in (None, -1)


def test_a_space_that_did_not_pause_itself_is_paused_when_its_results_are_brought(
    logged_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hfembed.launch.space.REST_SECONDS", 0.0)
    launch = launch_of({}).model_copy(update={"repo": "demo/hfembed-run-stubborn"})
    RunRepo(str(launch.repo)).create()
    space = Space(str(launch.repo))
    space.prepare("gradio", "t4-small", 7200, {}, {})
    space.commit({"app.py": STUBBORN}, "An app that goes on")
    while space.state().stage != "RUNNING":
        time.sleep(0.1)
    HubSpaces().bring(launch, Run(tmp_path / "run"))
    assert space.state().stage == "PAUSED"
    assert HubSpaces().standing(launch, None).message == "The Space was paused before the run was done."
    assert HubSpaces().delete(launch) is True and HubSpaces().delete(launch) is False
    assert HubSpaces().standing(launch, None).stage == "DELETED"


def _no_process_shows(*secrets: str) -> None:
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes() if process.name.isdecimal() else b""
        except OSError:
            continue  # it ended while we looked
        for secret in secrets:
            assert secret.encode() not in command, command
