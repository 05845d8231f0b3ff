"""Presets side by side: what they share is done once, here or on the Hub, and the same command goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from builders import recipe_for, run_until, some_documents, write_beir
from gate import PATIENCE
from huggingface_hub import HfApi
from typer.testing import CliRunner

from hfembed import cli
from hfembed.errors import choices
from hfembed.events import read_events
from hfembed.launch.steps import arrange, take_over
from hfembed.pipeline import manifests
from hfembed.recipe import load_presets, make_recipe
from hfembed.run import LAYOUT, Run

# Steps


def test_what_presets_have_in_common_is_a_step_of_its_own():
    recipes = {name: make_recipe(name, options={"corpus": "c"}) for name in ("instant", "thorough", "llm")}
    steps = {step.name: step for step in arrange(recipes)}
    assert list(steps) == ["instant+thorough+llm", "instant+thorough", "instant", "thorough", "llm"]
    assert steps["instant+thorough+llm"].stages == ("pull",)
    assert steps["instant+thorough"].stages == ("generate", "mine")
    for name in ("instant", "thorough"):
        assert steps[name].stages == ("train", "evaluate") and steps[name].recipe == recipes[name]
    assert steps["llm"].stages == ("generate", "mine", "train", "evaluate")
    assert [step.is_shared for step in steps.values()] == [True, True, False, False, False]


def test_presets_that_have_nothing_in_common_share_nothing_and_equal_ones_are_both_trained():
    one, other = (make_recipe(settings=[f"pull.min_chars={size}"], options={"corpus": "c"}) for size in (10, 20))
    assert [(step.name, step.after) for step in arrange({"a": one, "b": other})] == [("a", None), ("b", None)]
    assert [step.name for step in arrange({"a": one, "b": one})] == ["a+b", "a", "b"]


def test_a_step_takes_over_what_it_goes_on_from_and_leaves_that_as_it_was(tmp_path: Path, tiny_model: Path):
    corpus = write_beir(tmp_path / "c", some_documents(24))
    source, _ = run_until(tmp_path / "source", corpus, "generate", base=tiny_model)
    other = recipe_for(corpus, "mine.negatives=2", base=tiny_model)
    *_, step = arrange({"a": source.recipe(), "b": other})
    target = Run(tmp_path / "target")
    take_over(step, source, target)
    assert set(manifests(target)) == {"pull", "generate"} and target.recipe() == other
    mark = target.path(LAYOUT.pairs).stat().st_mtime_ns
    assert target.path(LAYOUT.pairs).read_bytes() == source.path(LAYOUT.pairs).read_bytes()
    take_over(step, source, target)
    assert target.path(LAYOUT.pairs).stat().st_mtime_ns == mark
    assert not target.path(LAYOUT.partial).exists()


# The command


@pytest.fixture
def wanted(corpus: Path, tiny_model: Path, cheap: list[str]) -> tuple[str | Path, ...]:
    return ("compare-presets", corpus, "--base", tiny_model, *cheap)


def stages_begun(run: Path) -> list[str]:
    return [event.stage for event in read_events(run / LAYOUT.events) if event.kind == "start"]


@pytest.mark.long
def test_two_presets_run_as_jobs_at_once_after_one_that_did_what_they_share(away, wanted: tuple[Any, ...]):
    same = (*wanted, "--presets", "instant,thorough", "--on", "jobs:cpu-basic", "--yes", "--run", "tried")
    found = away.call(*same)
    rows = {row["name"]: row for row in (*found["presets"], *found["shared"])}
    assert list(rows) == ["instant", "thorough", "instant+thorough"] and found["same_queries"]
    assert [list(row["stages"]) for row in rows.values()] == [["train", "evaluate"]] * 2 + [
        ["pull", "generate", "mine"]
    ]
    tried = away.folder / "tried"
    launches = {name: json.loads((tried / name / LAYOUT.launch).read_text()) for name in rows}
    for name, row in rows.items():
        (attempt,) = launches[name]["attempts"]
        assert away.stages_begun(attempt["job"]) == list(row["stages"])
        assert row["error"] is None and row["seconds"] > 0 and row["dollars"] > 0
    for name in ("instant", "thorough"):
        report = json.loads((tried / name / LAYOUT.report).read_text())
        assert rows[name]["metrics"]["ndcg@10"]["tuned"] == report["metrics"]["ndcg@10"]["tuned"]
        assert rows[name]["verdict"] == report["verdict"]
    assert rows["instant"]["metrics"]["ndcg@10"]["base"] == rows["thorough"]["metrics"]["ndcg@10"]["base"]
    begun = [launches[name]["attempts"][0]["submitted"] for name in rows]
    assert max(begun[:2]) < json.loads((tried / "instant" / LAYOUT.outcome).read_text())["finished"], "one by one"
    assert Path(away.folder / found["chart"]).read_bytes().startswith(b"\x89PNG")

    assert away.call(*same) == found, "the same command has nothing left to do"
    assert len(list(away.api.list_jobs(namespace="demo"))) == 3
    process = away.start(*same, COLUMNS="80")
    table, words = process.communicate(timeout=PATIENCE)
    assert all(len(line) <= 80 for line in table.splitlines()) and "base " in table and "thorough" in table
    assert "instant and thorough share pull to mine" in words
    assert "holds a run of another recipe" in away.error(*same, "--set", "train.strength=0.3")
    assert away.token not in table + words + "".join(away.output)


def test_runs_here_go_one_after_the_other_are_left_alone_and_gone_on_with_and_one_that_fails_ends_no_other(
    away, wanted: tuple[Any, ...]
):
    nowhere = ("generate.llm.endpoint=http://127.0.0.1:9/v1", "generate.llm.patience.tries=1")
    settings = [part for setting in nowhere for part in ("--set", setting)]
    same = (*wanted, *settings, "--presets", "instant,llm", "--run", "tried")
    away.environment["OPENAI_API_KEY"] = "none"
    process = away.start(*same)
    instant = away.folder / "tried" / "instant"
    away.wait_for(lambda: "train" in stages_begun(instant) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "goes on without you" in words, words
    assert not (away.folder / "tried" / "llm" / LAYOUT.launch).exists()

    found = away.call(*same, code=2)
    rows = {row["name"]: row for row in found["presets"]}
    assert rows["instant"]["metrics"] and rows["instant"]["error"] is None and rows["instant"]["dollars"] is None
    assert "ended before it was done" in rows["llm"]["error"] and rows["llm"]["hint"] and not rows["llm"]["metrics"]
    assert stages_begun(instant) == ["generate", "mine", "train", "evaluate"], "it was begun anew"
    assert len(json.loads((instant / LAYOUT.launch).read_text())["attempts"]) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--presets", "instant"], f"two or more of {choices(load_presets())}"),
        (["--presets", "instant,thoro"], "Did you mean 'thorough'?"),
        (["--presets", "instant,thorough", "--on", "jbos"], "Did you mean 'jobs'?"),
        (["--presets", "instant,thorough", "--on", "jobs:l4x2"], "Did you mean 'l4x4'?"),
        (["--presets", "instant,thorough", "--on", "jobs:cpu-basic"], "Add --yes"),
        (["--presets", "instant,thorough", "--on", "jobs:h200", "--max-cost", "1", "--yes"], "more than --max-cost 1"),
        (["--presets", "instant,thorough", "--set", "train.phase=1"], "train.phase"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused_before_anything_is_sent(
    logged_in, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], said: str
):
    monkeypatch.chdir(tmp_path)
    before = len(HfApi(endpoint=logged_in.url).list_jobs(namespace="demo"))
    result = CliRunner().invoke(cli.app, ["compare-presets", str(corpus), *more, "--format", "json"])
    assert result.exit_code == 2, (result.output, result.exception)
    error = json.loads(result.stdout)["error"]
    assert said in f"{error['message']} {error['hint']}" and error["hint"]
    assert len(HfApi(endpoint=logged_in.url).list_jobs(namespace="demo")) == before
    assert not (tmp_path / "runs").exists()
