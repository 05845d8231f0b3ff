"""A visitor's runs: launched, found again, ended, gone on with, and nobody else's."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import some_documents, write_beir
from huggingface_hub import constants, file_download

from hfembed.errors import HfembedError, InputError, RunBusyError, RunError
from hfembed.events import Event, silent
from hfembed.launch.contract import Place
from hfembed.launch.queue import FOLDER, tickets, turn
from hfembed.launch.record import Outcome
from hfembed.localhub import LocalHub
from hfembed.recipe import make_recipe, validate_recipe
from hfembed.run import LAYOUT
from space import runs
from space.charts import line_chart
from space.follow import bring_here, progress_of
from space.foreign import refuse_foreign
from space.progress import StageState, read_progress
from space.runs import Status, VisitorRun
from space.settings import read_settings
from space.view_run import failure, kept_curves, log_html, run_html, stepper_html, whole_progress, work_html
from space.visitors import Visitor, new_token, visitor_of, visitor_with

PATIENCE = 60


@pytest.fixture(autouse=True)
def root(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HFEMBED_SPACE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("HFEMBED_SPACE_BASES", str(tiny_model))
    return tmp_path / "root"


@pytest.fixture
def visitor() -> Visitor:
    return visitor_of(new_token(), None)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "corpus", some_documents(40))


def launched(visitor: Visitor, corpus: Path, base: Path | str, until: str = "generate") -> VisitorRun:
    folder = runs.new_folder(visitor)
    uploads = shutil.copytree(corpus, folder / runs.UPLOADS) if corpus.is_dir() else corpus
    recipe = make_recipe("instant", None, [], {"corpus": str(uploads), "base": str(base)})
    found = runs.prepare(visitor, folder, recipe, Place.parse("local"), until)
    return runs.start(visitor, folder, found)


def wait_for(visitor: Visitor, one: VisitorRun, wanted: Status) -> None:
    deadline = time.monotonic() + PATIENCE
    while (state := runs.status(visitor, one)) is not wanted:
        assert not state.is_over, one.run.path(LAYOUT.launch_log).read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_run_goes_on_by_itself_and_is_found_by_its_visitor_alone(visitor: Visitor, corpus: Path, tiny_model: Path):
    one = launched(visitor, corpus, tiny_model)
    stranger = visitor_of(new_token(), None)
    assert [entry.id for entry in runs.runs_of(visitor)] == [one.id]
    assert runs.runs_of(stranger) == []
    with pytest.raises(InputError, match="no such run of yours"):
        runs.find_run(stranger, one.id)
    wait_for(visitor, one, Status.FINISHED)
    progress = progress_of(visitor, one)
    assert progress.states["generate"] is StageState.DONE
    assert progress.lines[-1].text.startswith("Done in")
    html = run_html(one, Status.FINISHED, progress, None)
    assert 'data-status="finished"' in html
    assert "generate: done" in html
    runs.delete(visitor, one)
    assert runs.runs_of(visitor) == []


def test_who_has_enough_runs_under_way_waits_and_a_cancelled_one_goes_on(
    visitor: Visitor, corpus: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HFEMBED_SPACE_RUNS", "1")
    queue = read_settings().queue
    with turn(silent(), {FOLDER: str(queue)}):  # somebody else's run
        one = launched(visitor, corpus, tiny_model)
        deadline = time.monotonic() + PATIENCE
        while not progress_of(visitor, one).said.startswith("Waiting for its turn: 1 run is before it"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert len(tickets(queue)) == 2
        with pytest.raises(RunBusyError, match="1 of your runs are under way"):
            launched(visitor, corpus, tiny_model)
        assert len(list(visitor.folder.iterdir())) == 1  # what was refused leaves nothing behind
        with pytest.raises(RunError, match="still under way"):
            runs.delete(visitor, one)
        runs.cancel(visitor, one)
        assert runs.status(visitor, one) is Status.CANCELLED
        assert len(tickets(queue)) == 1
    again = runs.resume(visitor, one)
    assert again.launch.attempt.number == 2
    wait_for(visitor, again, Status.FINISHED)


def test_a_run_that_fails_says_why_in_the_words_of_the_command_line(visitor: Visitor, tmp_path: Path, tiny_model: Path):
    lonely = write_beir(tmp_path / "lonely", some_documents(1))
    one = launched(visitor, lonely, tiny_model)
    wait_for(visitor, one, Status.FAILED)
    ended = runs.outcome(visitor, one)
    message, hint = failure(ended)
    assert "document" in message and "hfembed run" not in hint
    assert 'role="alert"' in run_html(one, Status.FAILED, progress_of(visitor, one), ended)


def test_a_corpus_that_is_not_there_is_refused_before_anything_starts(visitor: Visitor, tiny_model: Path):
    with pytest.raises(HfembedError):
        launched(visitor, Path("/nowhere/at/all"), tiny_model)
    assert runs.runs_of(visitor) == []


@pytest.mark.parametrize(
    "values",
    [
        {"corpus": "/data/hfembed-space/visitors"},
        {"corpus": "~/.cache"},
        {"corpus": "inputs/../../../other/run"},
        {"base": "/"},
        {"generate": {"llm": {"endpoint": "https://elsewhere.example/v1"}}},
        {"generate": {"llm": {"key_env": "HF_TOKEN"}}},
    ],
)
def test_a_recipe_that_came_back_from_a_repo_names_nothing_but_its_own(tmp_path: Path, tiny_model: Path, values: Any):
    own = tmp_path / "own"
    recipe = make_recipe("llm", None, [], {"corpus": str(own / "uploads"), "base": str(tiny_model)})
    refuse_foreign(recipe, own, read_settings())
    refuse_foreign(recipe.model_copy(update={"corpus": "inputs/corpus/handbook"}), own, read_settings())
    given = recipe.model_dump(mode="json")
    for name, value in values.items():
        given[name] = {**given[name], "llm": {**given[name]["llm"], **value["llm"]}} if name == "generate" else value
    with pytest.raises(RunError, match="of this run"):
        refuse_foreign(validate_recipe(given, "test"), own, read_settings())


def test_a_run_whose_recipe_was_changed_to_read_what_is_another_s_is_not_gone_on_with(
    visitor: Visitor, corpus: Path, tiny_model: Path
):
    one = launched(visitor, corpus, tiny_model)
    runs.cancel(visitor, one)
    secret = visitor_of(new_token(), None).folder
    recipe = one.run.recipe()
    one.run.write_recipe(recipe.model_copy(update={"corpus": str(secret)}))
    secret.mkdir(parents=True)
    with pytest.raises(RunError, match="which is not its own"):
        runs.resume(visitor, one)
    with pytest.raises(RunError, match="which is not its own"):
        runs.recipe_of(visitor, one)


# Elsewhere


@pytest.fixture
def signed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Visitor]:
    """Somebody with an account of a Hub that runs jobs."""
    with LocalHub(root=tmp_path / "hub") as hub:
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        yield visitor_with("demo", hub.add_user("demo"))


def test_a_job_is_followed_and_what_it_made_is_brought_here_though_its_folder_was_lost(
    signed_in: Visitor, corpus: Path, tiny_model: Path
):
    folder = runs.new_folder(signed_in)
    uploads = shutil.copytree(corpus, folder / runs.UPLOADS)
    recipe = make_recipe("instant", None, [], {"corpus": str(uploads), "base": str(tiny_model)})
    found = runs.prepare(signed_in, folder, recipe, Place.parse("jobs:cpu-basic"), "generate")
    one = runs.start(signed_in, folder, found)
    wait_for(signed_in, one, Status.FINISHED)
    shutil.rmtree(one.folder)
    [kept] = runs.runs_of(signed_in)
    assert kept.id == one.id and not kept.is_whole
    deadline = time.monotonic() + PATIENCE
    while not kept.is_whole or not kept.run.path(LAYOUT.outcome).is_file():
        assert not bring_here(signed_in, kept).lost
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert kept.folder.stat().st_mode & 0o077 == 0
    while progress_of(signed_in, kept).states["generate"] is not StageState.DONE:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert runs.recipe_of(signed_in, kept).corpus == str(kept.run.folder.resolve() / "inputs/corpus" / runs.UPLOADS)
    assert [entry.id for entry in runs.runs_here(signed_in)] == [one.id]
    # What is here is not asked of the Hub again.
    constants.ENDPOINT = "http://127.0.0.1:9"
    assert runs.status(signed_in, kept) is Status.FINISHED and runs.outcome(signed_in, kept).error is None
    runs.delete(signed_in, kept)
    assert not kept.folder.exists()


# What is shown


def test_events_add_up_to_stages_work_curves_and_sentences():
    progress = read_progress(
        [
            Event("note", "queue", "waiting for its turn: 2 runs are before it"),
            Event("start", "pull"),
            Event("note", "pull", "text from column 'text'"),
            Event("done", "pull", seconds=2, data={"counts": {"documents": 3, "invalid_utf8": 0}}),
            Event("skipped", "generate", seconds=1),
            Event("start", "train"),
            Event("progress", "train", "training", 10, 20, "steps", 1.0, data={"values": {"loss": 2.0}}),
            Event("progress", "train", "training", 20, 20, "steps", 2.0, data={"values": {"loss": 1.0}}),
            Event("progress", "train", "training", 5, 20, "steps", 1.0, data={"values": {"loss": 0.5}}),
            Event("start", "mine"),
            Event("progress", "mine", "encoding documents", 50, 200, "documents", 5.0),
            Event("warning", "mine", "few <documents>"),
        ]
    )
    assert list(progress.states.values())[:4] == ["done", "done", "working", "waiting"]
    assert progress.said == "Waiting for its turn: 2 runs are before it."
    assert progress.work is not None
    assert progress.work.words() == "50 of 200 documents, 10 documents/s, 15 s left"
    assert progress.curves == {"loss": [(10, 2.0), (20, 1.0), (25, 0.5)]}  # the next phase goes on behind the first
    assert [line.text for line in progress.lines] == [
        "Text from column 'text'.",
        "Done in 2.0 s: 3 documents.",
        "Few <documents>.",
    ]
    log = log_html(progress.lines, opened=True)
    assert "Warning: " in log and "<documents>" not in log


def test_a_resumed_run_forgets_the_stage_that_was_killed():
    progress = read_progress([Event("start", "pull"), Event("done", "pull", data={"counts": {}}), Event("start", "mine"),
                              Event("skipped", "pull"), Event("start", "generate")])  # fmt: skip
    assert progress.stage == "generate"
    assert progress.states["mine"] is StageState.WAITING
    progress.stop()
    assert progress.states["generate"] is StageState.STOPPED
    assert "push" not in stepper_html(progress, "export")


def test_the_empty_panel_says_what_to_do():
    assert "press Launch" in run_html(None, Status.WAITING, read_progress([]), None)


def test_an_error_of_ours_is_told_from_one_of_the_user():
    def ended(kind: str, message: str, hint: str) -> Outcome:
        error = {"type": kind, "message": message, "hint": hint}
        return Outcome(
            attempt=1, error=error, seconds=1, stages={}, verdict=None, published=[], machine="", finished=""
        )

    assert failure(None)[0].startswith("The run ended without a word")
    assert failure(ended("CorpusError", "Too small.", "Add more.")) == ("Too small.", "Add more.")
    assert failure(ended("KeyError", "'x'", ""))[0] == "Unexpected error, a bug in hfembed: KeyError: 'x'"
    assert failure(ended("LaunchError", "It ended.", "hfembed run --resume X"))[1] == ""  # a button does that


def test_a_curve_has_its_range_and_words_for_who_does_not_see_it():
    chart = line_chart("Loss", [(0, 2.0), (50, 0.5)])
    assert 'aria-label="Loss: 2.000 at first, 0.500 now, over 50 steps"' in chart
    assert chart.count("<text") == 4
    assert line_chart("Loss", [(0, 2.0)]) == ""
    assert "<polyline" in line_chart("Flat", [(0, 1.0), (1, 1.0)])


def test_the_curves_of_a_finished_run_join_its_phases(visitor: Visitor, corpus: Path, tiny_model: Path):
    one = VisitorRun(launched(visitor, corpus, tiny_model).launch, visitor.folder / "other")
    assert kept_curves(one.here) == {}
    one.run.path(LAYOUT.curves).parent.mkdir(parents=True)
    phases = [
        {"planned_steps": 10, "log": [{"step": 5, "loss": 1.0}, {"step": 10, "dev": 0.5}]},
        {"planned_steps": 10, "log": [{"step": 5, "loss": 0.5}]},
    ]
    one.run.path(LAYOUT.curves).write_text(json.dumps({"phases": phases}))
    assert kept_curves(one.run) == {"loss": [(5, 1.0), (15, 0.5)], "dev": [(10, 0.5)]}
    assert whole_progress(one, read_progress([])).stage is None
    for entry in runs.runs_here(visitor):
        runs.cancel(visitor, entry)


def test_work_shows_its_share_and_the_time_that_is_left(visitor: Visitor, corpus: Path, tiny_model: Path):
    one = launched(visitor, corpus, tiny_model)
    progress = read_progress([Event("start", "mine"), Event("progress", "mine", "encoding", 50, 200, "documents", 5.0)])
    expected = one.launch.attempt.expected.model_copy(update={"seconds": 100.0})
    html = work_html(progress, 1.0, one.launch.attempt.model_copy(update={"expected": expected}))
    assert 'aria-valuenow="25"' in html
    assert "about 1 min 39 s left of the whole run" in html
    runs.cancel(visitor, one)
