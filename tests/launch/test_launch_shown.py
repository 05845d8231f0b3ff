"""What is shown of runs that were sent elsewhere, and what they are thought to take and have cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hfembed import terminal_launch
from hfembed.hardware import HARDWARE
from hfembed.launch.estimate import offer
from hfembed.launch.record import Attempt, Expected, Launch, LauncherName, Outcome, Standing
from hfembed.launch.spent import Surveyed, spent
from hfembed.launch.workload import Size, Weights, Workload
from hfembed.pipeline import NAMES
from hfembed.recipe import make_recipe

LOAD = Workload(Size(1_000, 660, 150, 1.0), Weights(22_700_000, 10_600_000, 6, 384), None, 0)
BEGUN = datetime.now(UTC) - timedelta(hours=1)


def attempt(dollars: float | None = 0.5) -> Attempt:
    expected = Expected(seconds=1_800, low=900, high=3_600, memory=1, stages={"train": 1_800.0}, dollars=dollars)
    return Attempt(
        number=1, launcher=LauncherName.JOBS, flavor="rtx-pro-6000x8", job="j", owner="demo", seconds=7_200,
        submitted=BEGUN.isoformat(), expected=expected, hfembed="0",
    )  # fmt: skip


def outcome(minutes: float) -> Outcome:
    return Outcome(
        attempt=1, error=None, seconds=minutes * 60, stages={}, verdict=None, published=[], machine="m",
        finished=(BEGUN + timedelta(minutes=minutes)).isoformat(),
    )  # fmt: skip


def test_what_a_run_costs_counts_until_its_last_word_or_until_now():
    running, over = (Standing(stage=stage, is_over=stage == "ERROR") for stage in ("RUNNING", "ERROR"))
    assert spent(attempt(), over, outcome(15)).dollars == pytest.approx(0.25)
    hours = (datetime.now(UTC) - BEGUN) / timedelta(hours=1)
    assert spent(attempt(), running, None).dollars == pytest.approx(hours, rel=0.01)
    assert spent(attempt(), over, None).dollars is None, "when a killed job ended is not known"
    assert spent(attempt(None), over, outcome(15)).dollars is None
    assert spent(attempt(), over, None).age == pytest.approx(hours * 3_600, abs=60)


def test_the_list_of_runs_stays_within_a_narrow_terminal_and_says_what_failed_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    launch = Launch(
        id="20260101-000001-abcdef", name="a corpus with a long name thorough", repo="demo/none", recipe_hash="a" * 64,
        until="push", rerun=None, publishes={}, inputs=[], load=LOAD, extras=[], attempts=[attempt()],
    )  # fmt: skip
    standings = (
        Standing(stage="COMPLETED", is_over=True),
        Standing(stage="SCHEDULING", is_over=False, is_waiting=True),
        Standing(stage="ERROR", is_over=True, message="Job timeout"),
        Standing(stage="A NEW WORD", is_over=False),
    )
    rows = [Surveyed(launch, one, spent(launch.attempt, one, outcome(15))) for one in standings]
    terminal_launch.show_runs(rows)
    told = capsys.readouterr()
    assert all(len(line.rstrip()) <= 80 for line in told.out.splitlines()), told.out
    for word in ("age", "cost", "1 h", "$0.25", "jobs:rtx-pro-6000x8", "done", "waiting", "failed", "a new word"):
        assert word in told.out, word
    assert "Job timeout" in told.err and f"--resume {launch.id}" in told.err


def test_training_the_weights_costs_what_learns_what_only_passes_and_the_looks_between():
    card = next(item for item in HARDWARE if item.name == "cpu-basic")

    def train(preset: str, *settings: str) -> float:
        recipe = make_recipe(preset, settings=settings)
        return offer(recipe, NAMES, LOAD, card, remote=False).expected.stages["train"]

    instant, thorough = train("instant"), train("thorough")
    assert thorough > 10 * instant
    assert train("thorough", "train.phases.0.steps=240") > 1.5 * thorough
    # Without a teacher a third less passes forward; with all layers more learns.
    assert train("thorough", "train.phases.0.loss=embed_distill") < thorough
    assert train("thorough", "train.phases.0.layers=6") > 1.3 * thorough
    assert train("thorough", "train.phases.0.stop.looks=5") > train("thorough") > train("thorough", "train.strength=1")
