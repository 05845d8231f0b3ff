"""What the pages show is what the events and results say, and never markup from outside."""

from __future__ import annotations

import json
from pathlib import Path

from hfembed.compare import Hit, Ranking
from hfembed.events import Event
from space.progress import STAGES, StageState, read_progress
from space.queries import example_queries
from space.runner import Launch, Status, status
from space.view_compare import rankings_html
from space.view_run import failure, log_html, run_html, work_html


def test_events_add_up_to_stages_work_and_sentences() -> None:
    progress = read_progress(
        [
            Event("start", "pull"),
            Event("note", "pull", "text from column 'text'"),
            Event("done", "pull", seconds=2, data={"counts": {"documents": 3, "invalid_utf8": 0}}),
            Event("skipped", "generate", seconds=1),
            Event("start", "mine"),
            Event("progress", "mine", "encoding documents", 50, 200, "documents", 5.0),
            Event("warning", "mine", "few documents"),
        ]
    )
    assert list(progress.states.values())[:4] == ["done", "done", "working", "waiting"]
    assert progress.work is not None
    assert progress.work.words() == "50 of 200 documents, 10 documents/s, 15 s left"
    assert [line.text for line in progress.lines] == [
        "Text from column 'text'.",
        "Done in 2.0 s: 3 documents.",
        "Few documents.",
    ]
    assert "Warning: " in log_html(progress.lines, opened=True)
    assert 'aria-valuenow="25"' in work_html(progress, 6)


def test_a_resumed_run_forgets_the_stage_that_was_killed() -> None:
    progress = read_progress([Event("start", "pull"), Event("done", "pull", data={"counts": {}}), Event("start", "mine"),
                              Event("skipped", "pull"), Event("start", "generate")])  # fmt: skip
    assert progress.stage == "generate"
    assert progress.states["mine"] is StageState.WAITING
    progress.stop()
    assert progress.states["generate"] is StageState.STOPPED
    assert list(progress.states) == list(STAGES)


def test_the_empty_panel_says_what_to_do() -> None:
    assert "press Launch" in run_html(None)


def test_an_error_reads_as_on_the_command_line(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    assert status(launch) is Status.FAILED
    assert failure(launch)[0].startswith("The run ended without a word")
    error = {"type": "CorpusError", "message": "Too small.", "hint": "Add more."}
    launch.result_file.write_text(json.dumps({"error": error}))
    assert failure(launch) == ("Too small.", "Add more.")
    launch.result_file.write_text(json.dumps({"error": {"type": "KeyError", "message": "'x'", "hint": ""}}))
    assert failure(launch)[0] == "Unexpected error, a bug in hfembed: KeyError: 'x'"


def test_rankings_show_moves_in_words_and_escape_what_they_quote() -> None:
    base = Ranking("base", 1.0, [Hit(1, "a", "A", "x", 0.9, None), Hit(2, "b", "B", "y", 0.8, None)])
    tuned = Ranking("tuned", 1.0, [Hit(1, "b", "B", "y", 0.9, 1), Hit(2, "c", "<script>", "<b>z</b>", -0.1, None)])
    html = rankings_html("<i>q</i>", [base, tuned], ["base", "tuned"])
    assert "up 1 place" in html
    assert "was not among the first model" in html
    assert "not among the tuned model" in html
    assert "<script>" not in html and "<i>" not in html and "<b>z" not in html


def test_example_queries_mix_the_kinds(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    file = launch.run / "triplets" / "test" / "queries.jsonl"
    file.parent.mkdir(parents=True)
    rows = [{"text": f"{kind} {n}", "metadata": {"kind": kind}} for kind in ("title", "keyword") for n in range(9)]
    file.write_text("\n".join(json.dumps(row) for row in [*rows, {"text": "long " * 40}]))
    found = example_queries(launch, 4)
    assert found[:2] == ["title 0", "keyword 0"]
    assert len(found) == 4
