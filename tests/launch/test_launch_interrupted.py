"""Runs that are left alone, cancelled, timed out, killed, cut off from their log: nothing that was done is lost."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from pathlib import Path

import pytest
from gate import ANSWERS, PATIENCE, Gate, kept_answers
from llm_process import KEY

from hfembed.events import read_events
from hfembed.run import LAYOUT


def stage_of(away, job: str) -> str:
    return str(away.api.inspect_job(job_id=job, namespace="demo").status.stage)


def job_of(away) -> str:
    """Return the job that the run in the folder `run` was sent to last."""
    return str(json.loads((away.folder / "run" / "launch.json").read_text())["attempts"][-1]["job"])


def test_a_detached_run_is_followed_left_and_cancelled_and_goes_on_elsewhere(
    away, corpus: Path, slow: list[str], gate: Gate
):
    gate.allow(3)
    identity = away.send(corpus, "jobs:cpu-basic", *slow)
    again = ("run", "--corpus", corpus, "--until", "generate", "--on", "jobs:cpu-upgrade", "--yes", *slow)
    refused = away.error(*again, "--run", "other")
    assert identity in refused and "--again" in refused

    following = away.start("logs", "-f", identity)
    away.wait_for(lambda: "generate" in following.stderr.readline())
    following.send_signal(signal.SIGINT)
    _, words = following.communicate(timeout=PATIENCE)
    assert following.returncode == 130 and f"hfembed logs -f {identity}" in words

    assert away.call("status", identity)["standing"]["stage"] == "RUNNING"
    away.wait_for(lambda: kept_answers(away, identity) == 3)
    commands = away.command_lines().values()
    assert any(identity in command for command in commands)
    assert not [command for command in commands if away.token in command or KEY in command]
    assert away.call("cancel", "run") == {"id": identity, "cancelled": True}
    away.wait_for(lambda: stage_of(away, job_of(away)) == "CANCELED")
    assert away.call("cancel", "run") == {"id": identity, "cancelled": False}
    assert "--resume" in away.error("status", "run")

    asked = gate.asked
    gate.allow()
    done = away.call("run", "--resume", identity, "--on", "local", "--run", "home")
    assert done["outcome"]["error"] is None and done["launch"]["attempts"][-1]["launcher"] == "local"
    assert [stage["name"] for stage in done["stages"]] == ["pull", "generate"]
    assert gate.asked - asked == ANSWERS - 3, "what had been answered was asked for again"
    # What was done here was told there.
    (row,) = [row for row in away.call("runs")["runs"] if row["launch"]["id"] == identity]
    assert row["standing"]["stage"] == "COMPLETED"
    assert KEY not in "".join(away.output) and away.token not in "".join(away.output)


def test_a_job_whose_machine_is_lost_is_resumed_on_another_and_repeats_nothing_that_was_kept(
    away, corpus: Path, slow: list[str], gate: Gate
):
    gate.allow(5)
    identity = away.send(corpus, "jobs:cpu-basic", *slow)
    away.wait_for(lambda: kept_answers(away, identity) == 5)
    away.kill_worker(identity)
    away.wait_for(lambda: stage_of(away, job_of(away)) == "ERROR")
    said = away.error("status", identity)
    assert f"{identity} ended before it was done" in said and f"--resume {identity}" in said
    asked = gate.asked
    gate.allow()
    done = away.call("run", "--resume", identity, "--on", "jobs:cpu-upgrade", "--yes", "--run", "run")
    assert [entry["flavor"] for entry in done["launch"]["attempts"]] == ["cpu-basic", "cpu-upgrade"]
    assert done["outcome"]["attempt"] == 2 and done["outcome"]["stages"].keys() == {"generate"}
    assert gate.asked - asked == ANSWERS - 5


@pytest.mark.long
def test_a_job_that_is_lost_while_it_trains_goes_on_from_its_last_checkpoint_elsewhere(
    away, corpus: Path, tiny_model: Path, cheap: list[str]
):
    steps = 40
    phases = f"train.phases=[{{method: full, steps: {steps}, batch_size: 4, accumulate: 8, stop: {{looks: 1, patience: null}}}}]"
    settings = [part for part in cheap if part != "--set" and "phases" not in part]
    settings += [phases, "train.strength=1", "train.checkpoint_seconds=0.5"]
    more = [part for setting in settings for part in ("--set", setting)]
    place = ("--on", "jobs:cpu-basic", "--detach", "--yes", "--run", "run")
    sent = away.call("run", "--corpus", corpus, "--base", tiny_model, *more, "--until", "train", *place)
    identity, repo = sent["launch"]["id"], sent["launch"]["repo"]

    def kept_steps() -> int:
        names = away.api.list_repo_files(repo, repo_type="dataset")
        kept = [name for name in names if "/checkpoint-" in name and name.endswith("/complete")]
        return max((int(name.split("checkpoint-")[1].split("/")[0]) for name in kept), default=0)

    away.wait_for(lambda: kept_steps() >= 3)
    away.kill_worker(identity)
    kept = kept_steps()
    away.wait_for(lambda: stage_of(away, job_of(away)) == "ERROR")
    done = away.call("run", "--resume", identity, "--on", "jobs:cpu-upgrade", "--yes", "--run", "run")
    assert away.stages_begun(job_of(away)) == ["train"], "what was done was done again"
    (train,) = [stage for stage in done["stages"] if stage["name"] == "train"]
    assert len(train["facts"]["losses"]) == steps
    events = list(read_events(away.folder / "run" / LAYOUT.events))
    begun = max(number for number, event in enumerate(events) if event.kind == "start" and event.stage == "train")
    trained = [event.done for event in events[begun:] if event.message == "training the weights" and event.done]
    assert trained[0] >= kept, "it began anew"


def test_a_job_that_takes_too_long_is_ended_and_says_so(away, corpus: Path, slow: list[str]):
    identity = away.send(corpus, "jobs:cpu-basic", *slow, "--timeout", "3s")
    process = away.start("logs", "-f", identity)
    _, words = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2 and "Traceback" not in words
    assert "timeout" in words.lower() or "cancelled" in words
    assert f"--resume {identity}" in words


def test_a_hub_that_is_away_for_a_while_does_not_end_a_followed_run(away, corpus: Path, slow: list[str], gate: Gate):
    gate.allow(2)
    identity = away.send(corpus, "jobs:cpu-basic", *slow)
    following = away.start("logs", "-f", "run", "--format", "json")
    away.wait_for(lambda: kept_answers(away, identity) == 2)
    away.hub.set_faults("rate=1,status=503")
    gate.allow()
    threading.Timer(5, away.hub.set_faults, [""]).start()
    out, words = following.communicate(timeout=PATIENCE)
    assert following.returncode == 0, words
    assert json.loads(out)["outcome"]["error"] is None
    assert [stage["name"] for stage in json.loads(out)["stages"]] == ["pull", "generate"]


def test_a_process_here_is_ended_by_its_time_killed_cancelled_and_goes_on_each_time(
    away, corpus: Path, slow: list[str], gate: Gate
):
    gate.allow(2)
    identity = away.send(corpus, "local", *slow, "--timeout", "6s", HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="")
    process = away.start("logs", "-f", "run")
    _, words = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2 and "its time was up" in words and "--resume" in words

    answers = away.folder / "run" / "answers" / "answers.jsonl"

    def answered() -> int:
        return len(answers.read_text().splitlines()) if answers.is_file() else 0

    assert answered() in (0, 2)  # on a busy machine its time may be up before it asks
    gate.allow(4)
    begun = away.call("run", "--resume", "run", "--detach")
    assert begun["launch"]["id"] == identity
    assert away.call("status", "run")["standing"]["stage"] == "RUNNING"
    assert "is being worked on" in away.error("run", "--resume", "run")
    away.wait_for(lambda: answered() >= 4)
    away.kill_worker(str(away.folder / "run"))
    assert "without a last word" in away.error("status", "run")
    away.call("run", "--resume", "run", "--detach")
    assert away.call("cancel", "run")["cancelled"] is True
    assert "--resume" in away.error("status", "run")
    asked, had = gate.asked, answered()
    gate.allow()
    done = away.call("run", "--resume", "run")
    assert [entry["number"] for entry in done["launch"]["attempts"]] == [1, 2, 3, 4]
    assert [stage["name"] for stage in done["stages"]] == ["pull", "generate"]
    assert gate.asked - asked == ANSWERS - had


def test_a_kept_run_of_this_machine_goes_on_though_its_folder_is_lost(away, corpus: Path, slow: list[str], gate: Gate):
    gate.allow(4)
    identity = away.send(corpus, "local", "--keep", *slow)
    away.wait_for(lambda: kept_answers(away, identity) == 4)
    (row,) = [row for row in away.call("runs")["runs"] if row["launch"]["id"] == identity]
    assert row["standing"]["stage"] == "RUNNING" and row["launch"]["attempts"][0]["launcher"] == "local"
    away.kill_worker(str(away.folder / "run"))
    shutil.rmtree(away.folder / "run")
    shutil.rmtree(corpus)  # what it reads was sent along
    (row,) = [row for row in away.call("runs")["runs"] if row["launch"]["id"] == identity]
    assert row["standing"]["stage"] == "ERROR"
    asked = gate.asked
    gate.allow()
    done = away.call("run", "--resume", identity, "--run", "back")
    assert done["outcome"]["error"] is None
    assert [stage["name"] for stage in done["stages"]] == ["pull", "generate"]
    assert gate.asked - asked == ANSWERS - 4
