"""What `make demo` calls: the whole way through a Hub of its own, with the real base, and no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Demo

pytestmark = pytest.mark.xdist_group("instant")


def test_the_demo_publishes_through_a_hub_of_its_own_and_a_stranger_searches_with_the_result(demo: Demo):
    shown = demo.shown
    assert [stage["name"] for stage in shown["run"]["stages"]][-1] == "push"
    assert {entry["kind"] for entry in shown["run"]["published"]} == {"model", "dataset"}
    assert shown["links"]["model"].startswith(shown["url"]) and shown["links"]["model"] in demo.words
    search = shown["search"]
    assert len(search["examples"]) == 3
    assert search["questions"] == 72 and search["rose"] + search["fell"] > 0, "the tuned model answers like its base"
    assert "Traceback" not in demo.words


def test_the_demo_ends_with_the_front_end_on_its_run(demo: Demo):
    assert demo.shown["space"].startswith("http://127.0.0.1:")
    run = Path(demo.shown["run"]["run"])
    [shown] = (run.parent / "space" / "visitors").glob("*/*/run")
    assert shown.resolve() == run.resolve()
