"""Runs that are killed, starved or raced, and what is left of them."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfembed.events import read_events
from hfembed.pipeline import manifests
from hfembed.run import Run

STAGES = ("pull", "generate", "mine", "train", "evaluate", "export")


@pytest.fixture
def command(tiny_model: Path, sample: Path, cheap: list[str]) -> list[str]:
    """Return a small but whole run; a fixed strength makes sure that something is folded."""
    start = [sys.executable, "-m", "hfembed", "run", "--corpus", str(sample), "--base", str(tiny_model)]
    return [*start, "--until", "export", *cheap, "--set", "train.strength=0.5", "--run"]


def fingerprint(run: Path) -> dict[str, str]:
    """Hash what must be the same whatever happened on the way."""
    files = ["model/model.safetensors", "triplets/pairs.parquet", "triplets/train.parquet", "triplets/dev.parquet"]
    files += ["triplets/test/queries.jsonl", "triplets/test/qrels/test.tsv", "corpus/documents.parquet"]
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in files}


def kill_at(command: list[str], run: Path, stage: str, event: str) -> None:
    """Start a run and kill -9 it as soon as a stage has emitted an event."""
    process = subprocess.Popen([*command, str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = time.time()
    while process.poll() is None:
        seen = [e for e in read_events(run / "events.jsonl") if e.time >= started]
        if any(e.stage == stage and e.kind == event for e in seen):
            process.send_signal(signal.SIGKILL)
            break
        assert time.time() - started < 120, f"{stage} never came to {event}"
        time.sleep(0.005)
    process.wait()


def test_killed_in_every_stage_a_run_ends_with_the_same_weights_and_repeats_only_the_stage_in_flight(
    command: list[str], tmp_path: Path
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, str(whole)], check=True, capture_output=True)
    finished: dict[str, str] = {}
    for stage, event in zip(STAGES, ("start", "start", "progress", "progress", "note", "note"), strict=True):
        kill_at(command, killed, stage, event)
        now = {name: manifest.finished for name, manifest in manifests(Run(killed)).items()}
        assert stage not in now, f"the kill came too late for {stage}"
        assert {name: now[name] for name in finished} == finished, "a finished stage was done twice"
        finished = now
    subprocess.run([*command, str(killed)], check=True, capture_output=True)
    assert fingerprint(killed) == fingerprint(whole)
    assert not (killed / ".partial").exists()
    started = [event.stage for event in read_events(killed / "events.jsonl") if event.kind == "start"]
    assert all(started.count(stage) == 2 for stage in STAGES)


def test_two_processes_on_one_run_the_second_refuses(command: list[str], tmp_path: Path):
    run = tmp_path / "run"
    first = subprocess.Popen([*command, str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (run / "corpus" / "manifest.json").is_file():
            assert first.poll() is None
            time.sleep(0.005)
        second = subprocess.run([*command, str(run)], capture_output=True, text=True)
        assert first.poll() is None, "the first run ended before the second asked"
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert "Another process is working in" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_full_disk_is_said_plainly_leaves_nothing_half_written_and_the_run_goes_on(
    command: list[str], tmp_path: Path
):
    run, option = tmp_path / "run", command.index("--until") + 1
    for stage, bytes_allowed in (("pull", 8_000), ("mine", 40_000), ("train", 160_000)):
        before = set(manifests(Run(run)))

        def starve(most: int = bytes_allowed) -> None:  # no file may grow beyond this, as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        starved = subprocess.run(
            [*command, str(run), "--format", "json"], preexec_fn=starve, capture_output=True, text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert starved.returncode == 2, starved.stderr
        assert "The disk is full" in starved.stderr and "Traceback" not in starved.stderr
        assert json.loads(starved.stdout)["error"]["type"] == "NoSpaceError"
        done = set(manifests(Run(run)))
        assert before <= done and stage not in done
        assert not (run / ".partial").exists()
        again = subprocess.run(
            [*command[:option], stage, *command[option + 1 :], str(run)], capture_output=True, text=True
        )
        assert again.returncode == 0, again.stderr
        assert stage in manifests(Run(run))


def test_interrupted_by_the_keyboard_a_run_says_how_to_go_on(command: list[str], tmp_path: Path):
    run = tmp_path / "run"
    process = subprocess.Popen([*command, str(run)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any(event.stage == "mine" for event in read_events(run / "events.jsonl")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command goes on" in words and "Traceback" not in words
    assert not (run / ".partial").exists()
