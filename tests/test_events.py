"""Events: one line each, the same for the file and for every listener."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import Listener
from hypothesis import given
from hypothesis import strategies as st

from hfembed import events as module
from hfembed.events import Event, Events, Reporter, read_events, silent


def test_an_event_becomes_one_line_without_its_empty_fields():
    line = Event("note", "pull", "two\nlines", time=1.5).to_line()
    assert "\n" not in line
    assert json.loads(line) == {"kind": "note", "stage": "pull", "message": "two\nlines", "time": 1.5}


@given(
    message=st.text(st.characters(exclude_categories=("Cs",))),
    done=st.integers(0, 9),
    total=st.none() | st.integers(0, 9),
)
def test_a_line_reads_back_as_the_event(message: str, done: int, total: int | None):
    event = Event("progress", "train", message, done, total or None, "steps", 1.25, {"a": 1})
    assert Event(**json.loads(event.to_line())) == event


def test_the_file_and_every_listener_get_every_event(tmp_path: Path):
    first, second = Listener(), Listener()
    events = Events(tmp_path / "events.jsonl", [first, second])
    Reporter("pull", events).note("hello", count=3)
    Reporter("train", events).warn("careful")
    assert [(e.kind, e.stage, e.message, e.data) for e in first] == [
        ("note", "pull", "hello", {"count": 3}),
        ("warning", "train", "careful", {}),
    ]
    assert first == second == list(read_events(tmp_path / "events.jsonl"))  # flushed, though still open
    events.close()
    events.close()


def test_a_later_process_appends(tmp_path: Path):
    for message in ("one", "two"):
        events = Events(tmp_path / "events.jsonl")
        Reporter("pull", events).note(message)
        events.close()
    assert [event.message for event in read_events(tmp_path / "events.jsonl")] == ["one", "two"]


@pytest.mark.parametrize("rest", ['{"kind": "no', '{"kind": "note"}\n', '{"bogus": 1}\n', "[]\n", "\n", "null\n"])
def test_a_line_cut_short_is_passed_over(tmp_path: Path, rest: str):
    good = Event("note", "pull", "kept").to_line()
    (tmp_path / "events.jsonl").write_text(f"{good}\n{rest}", encoding="utf-8")
    assert [event.message for event in read_events(tmp_path / "events.jsonl")] == ["kept"]


def test_a_character_cut_in_half_is_passed_over(tmp_path: Path):
    good = Event("note", "pull", "kept").to_line().encode()
    (tmp_path / "events.jsonl").write_bytes(good + b"\n" + '{"kind": "é'.encode()[:-1])
    assert [event.message for event in read_events(tmp_path / "events.jsonl")] == ["kept"]


def test_a_run_without_events_has_none(tmp_path: Path):
    assert list(read_events(tmp_path / "gone.jsonl")) == []


def test_progress_begins_at_nothing_and_ends_with_everything():
    heard = Listener()
    report = Reporter("train", Events(listeners=[heard]))
    assert list(report.each(range(5), "training", 5, "steps")) == [0, 1, 2, 3, 4]
    assert (heard[0].done, heard[0].total, heard[0].unit, heard[0].message) == (0, 5, "steps", "training")
    assert (heard[-1].done, heard[-1].total) == (5, 5)
    assert {event.kind for event in heard} == {"progress"} and {event.stage for event in heard} == {"train"}


def test_a_total_that_was_not_known_is_what_was_done():
    heard = Listener()
    list(Reporter("pull", Events(listeners=[heard])).each(range(3), "reading"))
    assert heard[0].total is None and (heard[-1].done, heard[-1].total) == (3, 3)


def test_rapid_progress_is_thinned(monkeypatch: pytest.MonkeyPatch):
    heard, clock = Listener(), [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    task = Reporter("pull", Events(listeners=[heard])).task("reading", 100)
    for _ in range(100):
        clock[0] += module.MIN_INTERVAL / 10
        task.advance()
    task.finish()
    assert 10 <= len(heard) <= 13
    assert [event.done for event in heard] == sorted({event.done for event in heard} | {100}) or heard[-1].done == 100
    assert heard[-1].seconds == pytest.approx(100 * module.MIN_INTERVAL / 10)


def test_work_that_stops_half_way_is_not_reported_as_done():
    heard = Listener()
    for item in Reporter("pull", Events(listeners=[heard])).each(range(5), "reading", 5):
        if item == 2:
            break
    assert heard[-1].done < 5


def test_the_silent_reporter_takes_everything_and_says_nothing(capsys: pytest.CaptureFixture[str]):
    report = silent()
    report.note("x")
    report.warn("y")
    assert list(report.each([1, 2], "z")) == [1, 2]
    assert capsys.readouterr() == ("", "")
