"""One whole run, here and on the Hub: the same weights, the code that was sent, and no token anywhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from gate import PATIENCE
from safetensors.numpy import load_file


@pytest.mark.xdist_group("whole")
def test_a_job_pushes_the_model_that_a_process_here_makes(away, here):
    assert here.told["launch"]["attempts"][0]["launcher"] == "local" and here.told["outcome"]["error"] is None
    assert [stage["name"] for stage in here.told["stages"]][-1] == "export"

    repos = ("--model-repo", "demo/search", "--dataset-repo", "acme/triplets")
    there = away.call(*here.arguments, "--run", "there", "--on", "jobs:cpu-basic", "--yes", *repos)
    launch, outcome = there["launch"], there["outcome"]
    model = {entry["repo"]: entry for entry in outcome["published"]}["demo/search"]
    assert away.api.model_info("demo/search").sha == model["revision"]
    assert outcome["verdict"] == there["verdict"] and set(outcome["stages"]) == {row["name"] for row in there["stages"]}

    pushed = Path(away.api.hf_hub_download("demo/search", "model.safetensors", revision=model["revision"]))
    ours, brought = (load_file(run / "model" / "model.safetensors") for run in (here.run, away.folder / "there"))
    theirs = load_file(pushed)
    assert set(ours) == set(theirs) and len(ours) > 10
    for name, weights in ours.items():
        assert np.abs(weights - theirs[name]).max() <= 1e-6, name
        assert np.array_equal(brought[name], theirs[name]), "what was brought home is not what was pushed"

    job = launch["attempts"][0]["job"]
    log = away.log_of(job)
    assert "all libraries are here" in log and "/site/hfembed" in log, "the checkout ran, not the wheel that was sent"
    assert str(Path(__file__).parents[2]) not in log
    kept = away.api.list_repo_files(launch["repo"], repo_type="dataset")
    assert {"run.json", "recipe.yaml", "outcome.json", "run/model/model.safetensors", "run/events.jsonl"} <= set(kept)
    assert away.api.dataset_info(launch["repo"]).private
    # Queries by people are for measuring: they did not travel, and neither did this machine's paths.
    assert [name for name in kept if name.startswith("inputs/corpus/")] == ["inputs/corpus/handbook/corpus.jsonl"]
    recipe = Path(away.api.hf_hub_download(launch["repo"], "recipe.yaml", repo_type="dataset")).read_text()
    assert "inputs/corpus/handbook" in recipe
    assert str(away.folder) not in recipe and str(here.run.parent) not in recipe

    _token_stands_nowhere(away, job)
    assert away.call("status", "there")["verdict"] == there["verdict"]
    assert [row["launch"]["id"] for row in away.call("runs")["runs"]] == [launch["id"]]
    # Everything came home: what follows here has nothing left to do.
    again = away.call(*here.arguments, "--run", "there", "--until", "export")
    assert all(stage["skipped"] for stage in again["stages"])


def _token_stands_nowhere(away, job: str) -> None:
    shown = "".join(away.output) + away.log_of(job)
    assert away.token not in shown
    told = away.api.inspect_job(job_id=job, namespace="demo")
    assert away.token not in repr(vars(told)) and list(told.secrets or {}) == ["HF_TOKEN"]
    for place in (away.folder, away.hub.root):
        found = subprocess.run(["grep", "-rlaF", away.token, str(place)], capture_output=True, text=True, timeout=60)
        assert found.stdout == "", found.stdout
    for kind, repo in (("dataset", "acme/triplets"), ("model", "demo/search")):
        for name in away.api.list_repo_files(repo, repo_type=kind):
            content = Path(away.api.hf_hub_download(repo, name, repo_type=kind)).read_bytes()
            assert away.token.encode() not in content, name


@pytest.mark.parametrize("until", ["pull"])
def test_stages_done_here_are_not_done_again_there(away, corpus: Path, until: str):
    away.call("run", "--corpus", corpus, "--run", "run", "--until", until)
    identity = away.send(corpus, "jobs:cpu-basic")
    process = away.start("logs", "-f", "run")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    (row,) = [row for row in away.call("runs")["runs"] if row["launch"]["id"] == identity]
    assert away.stages_begun(row["launch"]["attempts"][0]["job"]) == ["generate"]
    assert "pull" not in row["launch"]["attempts"][0]["expected"]["stages"]
    assert [stage["name"] for stage in away.call("status", "run")["stages"]] == ["pull", "generate"]


@pytest.mark.long
def test_on_a_machine_with_two_gpus_two_processes_train_and_one_speaks(
    away, corpus: Path, tiny_model: Path, cheap: list[str]
):
    phases = "train.phases=[{method: full, steps: 4, batch_size: 4, stop: {patience: null}}]"
    settings = [*(part for part in cheap if "phases" not in part and part != "--set")]
    more = [part for setting in (*settings, phases, "train.strength=1") for part in ("--set", setting)]
    done = away.call(
        "run", "--corpus", corpus, "--base", tiny_model, *more, "--until", "train", "--run", "run",
        "--on", "jobs:a10g-largex2", "--yes",
    )  # fmt: skip
    assert [stage["name"] for stage in done["stages"]] == ["pull", "generate", "mine", "train"]
    (facts,) = [stage["facts"] for stage in done["stages"] if stage["name"] == "train"]
    (phase,) = facts["phases"]
    assert len(facts["losses"]) == 4 and phase["rows_drawn"] > 4 * 4, "each step draws a batch for each process"
    job = done["launch"]["attempts"][0]["job"]
    assert away.stages_begun(job) == ["pull", "generate", "mine", "train"], "both did the run"
