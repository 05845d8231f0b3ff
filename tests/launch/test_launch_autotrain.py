"""Runs that AutoTrain trains: its own words, a Space as its backend makes it, an instance that runs, and every end."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from autotrain_server import Columns, Instance, Params, Whole, autotrain_instance
from huggingface_hub.errors import HfHubHTTPError
from safetensors.numpy import load_file

from hfembed.errors import HubError, RecipeError
from hfembed.events import silent
from hfembed.hub.autotrain import DOCKERFILE, FLAVORS, Project, Training
from hfembed.launch.autotrain import AutoTrain, with_autotrain
from hfembed.launch.contract import Place
from hfembed.recipe import make_recipe

PROJECT = Project("hfembed-0123456789ab", "demo", "org/base", {"lr": 2e-5, "epochs": 2}, "hf_secret")
# A Python of an environment of its own that has autotrain-advanced; bench/autotrain.py makes use of it too.
REAL = os.environ.get("AUTOTRAIN_PYTHON", "")
PARSE = """
import json, sys
from autotrain.parser import AutoTrainConfigParser
found = AutoTrainConfigParser(sys.argv[1])
print(json.dumps(found.task_param_map[found.task](**found.parsed_config).model_dump()))
"""


@pytest.fixture
def instance(logged_in, hub, tmp_path: Path):
    with autotrain_instance(hub.url, tmp_path / "autotrain") as running:
        yield running


def project_of(away) -> str:
    """Return the name of the project that is worked on, once its data is there."""
    (name,) = [entry.id for entry in away.api.list_datasets(author="demo", search="hfembed-") if "-data" in entry.id]
    return str(name).partition("/")[2].removesuffix("-data")


def stage_of(away, space: str) -> str:
    """Return the stage of a Space; none where it is being made anew."""
    try:
        return str(away.api.get_space_runtime(space).stage)
    except HfHubHTTPError:
        return ""


def forget_projects(away) -> None:
    """Two tests of one Hub may train the same."""
    for entry in away.api.list_models(author="demo", search="hfembed-"):
        away.api.delete_repo(entry.id)


def test_what_is_asked_for_is_what_its_parser_and_its_interface_read():
    config, params = PROJECT.config("spaces-l4x1"), Whole.model_validate(PROJECT.params())
    assert config["task"].split(":")[1] == params.trainer
    assert (config["base_model"], config["project_name"]) == (params.model, params.project_name)
    assert config["data"]["path"] == params.data_path == PROJECT.data and config["log"] == params.log
    assert config["data"]["column_mapping"] == Columns.model_validate(config["data"]["column_mapping"]).model_dump()
    assert Params.model_validate(config["params"]).epochs == params.epochs == 2
    assert config["hub"]["token"] == "${HF_TOKEN}" and "hf_secret" not in json.dumps(config) + repr(PROJECT)
    assert PROJECT.name.replace("-", "").isalnum() and len(PROJECT.name) <= 50
    assert {place.name for place in AutoTrain(flavor="https://x").hardware()} == {"https://x"}


@pytest.mark.skipif(not REAL, reason="AUTOTRAIN_PYTHON names no Python that has autotrain-advanced")
def test_the_real_parser_makes_of_the_config_what_the_space_is_given(tmp_path: Path):
    file = tmp_path / "autotrain.yaml"
    file.write_text(yaml.safe_dump(PROJECT.config("spaces-l4x1")))
    done = subprocess.run(
        [REAL, "-c", PARSE, str(file)], env={**os.environ, "HF_TOKEN": PROJECT.token}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    parsed = json.loads(done.stdout.splitlines()[-1])
    assert {name: parsed[name] for name in PROJECT.params()} == PROJECT.params()


def test_a_place_is_a_space_or_an_address_and_the_recipe_says_what_autotrain_can():
    assert Place.parse("autotrain").flavor == "t4-small" and Place.parse("autotrain:l4x1").flavor in FLAVORS
    assert Place.parse("autotrain:https://me-autotrain.hf.space").flavor == "https://me-autotrain.hf.space"
    recipe = make_recipe(settings=["train.phases=[{method: full, epochs: 3, batch_size: 16, max_length: 64}]"])
    (phase,) = with_autotrain(recipe, "l4x1").train.phases
    assert (phase.method, phase.place, phase.epochs, phase.batch_size) == ("autotrain", "l4x1", 3, 16)
    assert with_autotrain(with_autotrain(recipe, "l4x1"), "t4-small").train.phases == [phase]
    for wrong in ("{method: autotrain}", "{method: full, place: l4x1}", "{method: autotrain, place: x, loss: gist}"):
        with pytest.raises(RecipeError):
            make_recipe(settings=[f"train.phases=[{wrong}]"])


def test_a_token_is_shown_to_no_instance_without_https():
    with pytest.raises(HubError, match="without https"):
        Training(PROJECT, "http://somewhere.example", silent()).start()


def test_an_instance_trains_and_the_run_is_blended_evaluated_and_pushed_here(
    away, corpus: Path, tiny_model: Path, cheap: list[str], instance: Instance
):
    instance.go.set()
    done = away.call(
        "run", "--corpus", corpus, "--base", tiny_model, *cheap, "--set", "train.strength=0.5", "--run", "run",
        "--on", f"autotrain:{instance.url}", "--yes", "--model-repo", "demo/by-autotrain",
    )  # fmt: skip
    (asked,) = instance.asked
    assert asked.username == "demo" and asked.base_model == f"demo/{asked.project_name}-base"
    assert [stage["name"] for stage in done["stages"]][-1] == "push" and done["outcome"]["error"] is None
    # Half of the way to what came back, which is one per cent more of everything.
    ours, base = (
        load_file(folder / "model.safetensors") for folder in (away.folder / "run" / "model", Path(tiny_model))
    )
    moved = [name for name, value in base.items() if value.dtype.kind == "f" and np.abs(value).max() > 0]
    assert len(moved) > 10
    for name in moved:
        assert np.abs(ours[name] - 1.005 * base[name]).max() <= 1e-6, name
    card = Path(away.api.hf_hub_download("demo/by-autotrain", "README.md")).read_text()
    assert "autotrain" in card and instance.url not in card
    # The rows it was given are gone from the Hub; what it trained is private.
    left = {entry.id for entry in away.api.list_datasets(author="demo")}
    assert not [name for name in left if name.endswith("-data")]
    assert away.api.model_info(f"demo/{asked.project_name}").private
    for place in (away.folder, away.hub.root):
        found = subprocess.run(["grep", "-rlaF", away.token, str(place)], capture_output=True, text=True, timeout=60)
        assert found.stdout == "", found.stdout
    forget_projects(away)


@pytest.mark.long
def test_a_space_is_made_as_its_backend_does_and_a_cancelled_or_failed_training_is_begun_anew(
    away, corpus: Path, tiny_model: Path, cheap: list[str], instance: Instance
):
    away.call(
        "run", "--corpus", corpus, "--base", tiny_model, *cheap, "--run", "run", "--until", "train",
        "--on", "autotrain:l4x1", "--yes", "--detach",
    )  # fmt: skip
    away.wait_for(lambda: [entry for entry in away.api.list_spaces(author="demo") if "autotrain" in entry.id] != [])
    name = project_of(away)
    space = f"demo/autotrain-{name}"
    away.wait_for(lambda: "Dockerfile" in away.api.list_repo_files(space, repo_type="space"))
    info = away.api.space_info(space)
    assert info.private and info.sdk == "docker" and info.runtime.requested_hardware == "l4x1"
    assert info.runtime.sleep_time == 604_800
    content = Path(away.api.hf_hub_download(space, "Dockerfile", repo_type="space")).read_text()
    assert content == DOCKERFILE and content.startswith("FROM huggingface/autotrain-advanced:latest\n")
    config = yaml.safe_load(
        Path(away.api.hf_hub_download(f"demo/{name}-data", "autotrain.yaml", repo_type="dataset")).read_text()
    )
    assert config["backend"] == "spaces-l4x1" and away.token not in json.dumps(config)
    assert away.call("status", "run")["standing"]["stage"] == "RUNNING"

    assert away.call("cancel", "run")["cancelled"] is True
    away.wait_for(lambda: stage_of(away, space) == "PAUSED")
    assert "--resume" in away.error("status", "run")

    following = away.start("run", "--resume", "run", "--yes", "--format", "json")
    away.wait_for(lambda: stage_of(away, space) == "STOPPED")  # made anew, and not run by this Hub
    instance.train(away.token, f"demo/{name}", f"demo/{name}-base", f"demo/{name}-data", Columns(**config["data"]["column_mapping"]))  # fmt: skip
    out, words = following.communicate(timeout=120)
    assert following.returncode == 0, words
    done = json.loads(out)
    assert [entry["launcher"] for entry in done["launch"]["attempts"]] == ["autotrain", "autotrain"]
    assert [stage["name"] for stage in done["stages"]][-1] == "train"
    assert not away.api.repo_exists(space, repo_type="space")
    forget_projects(away)
