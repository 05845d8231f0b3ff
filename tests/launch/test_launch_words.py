"""What is refused is refused in words, before anything is sent or paid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from typer.testing import CliRunner

from hfembed import cli
from hfembed.errors import InputError
from hfembed.hub import acting_as, job_token
from hfembed.launch.account import find_secrets
from hfembed.recipe import make_recipe

Arguments = tuple[str, ...]


def call(*arguments: str, code: int = 0) -> dict[str, Any]:
    """Call the command line in this process; return the object that it prints."""
    result = CliRunner().invoke(cli.app, [*arguments, "--format", "json"])
    assert result.exit_code == code, (result.output, result.exception)
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def error(*arguments: str) -> str:
    """Return what a refused command says; a next step is always part of it."""
    said = call(*arguments, code=2)["error"]
    assert said["hint"], said
    return f"{said['message']} {said['hint']}"


@pytest.fixture
def wanted(logged_in, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arguments:
    monkeypatch.chdir(tmp_path)
    return ("run", "--corpus", str(corpus), "--until", "generate", "--run", "run")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--on", "jbos"], "Did you mean 'jobs'?"),
        (["--on", "local:l4x1"], "this machine has no flavors"),
        (["--on", "jobs:l4x2", "--yes"], "Did you mean 'l4x4'?"),
        (["--on", "jobs:cpu-basic"], "--yes"),
        (["--on", "jobs", "--timeout", "soon", "--yes"], "--timeout 2h"),
        (["--on", "jobs", "--namespace", "others", "--yes"], "demo, acme"),
        (["--on", "jobs:h200", "--max-cost", "0.5", "--yes"], "more than --max-cost 0.5 allows"),
        (["--on", "jobs", "--token-from", "hf_abcdefghijklmnop", "--yes"], "a token belongs on no command line"),
        (["--on", "jobs", "--token-from", "NO_SUCH_VARIABLE", "--yes"], "NO_SUCH_VARIABLE holds no token"),
        (["--on", "jobs", "--rerun", "train", "--yes"], "train comes after generate"),
        (["--resume", "run"], "--resume takes no other"),
    ],
)
def test_what_cannot_be_sent_is_refused(wanted: Arguments, logged_in, more: list[str], said: str):
    message = error(*wanted, *more)
    assert said in message and "hf_abcdefghijklmnop" not in message
    assert call("runs")["runs"] == [] and not HfApi(endpoint=logged_in.url).list_jobs(namespace="demo")


def test_nobody_sends_a_run_without_a_token_or_with_one_the_hub_does_not_know(
    wanted: Arguments, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HFEMBED_JOB_TOKEN", "hf_nobody_has_this_one")
    said = error(*wanted, "--on", "jobs", "--yes")
    assert "token that the run is to be given" in said and "hf_nobody_has_this_one" not in said
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in error(*wanted, "--on", "jobs", "--yes")


def test_a_visitor_s_run_takes_neither_the_token_nor_the_key_of_whoever_owns_the_page(
    logged_in, monkeypatch: pytest.MonkeyPatch
):
    visitor = logged_in.add_user("visitor")
    monkeypatch.setenv("HFEMBED_JOB_TOKEN", "hf_of_the_owner")
    monkeypatch.setenv("OWNERS_KEY", "sk-of-the-owner")
    settings = ["generate.llm.model=m", "generate.llm.endpoint=https://llm.example/v1"]
    assert job_token() == "hf_of_the_owner"
    with acting_as(visitor):
        assert find_secrets(make_recipe("instant"), None) == {"HF_TOKEN": visitor}
        with pytest.raises(InputError, match="belongs to this page") as refused:
            find_secrets(make_recipe("llm", None, [*settings, "generate.llm.key_env=OWNERS_KEY"]), None)
        assert "sk-of-the-owner" not in str(refused.value)
    with acting_as(None), pytest.raises(InputError, match="no token of the Hub"):
        find_secrets(make_recipe("instant"), None)


def test_a_key_that_is_not_there_and_a_language_model_that_only_this_machine_reaches_are_refused(
    wanted: Arguments, monkeypatch: pytest.MonkeyPatch
):
    settings = ["generate.method=llm", "generate.llm.model=m", "generate.llm.endpoint=http://localhost:8000/v1"]
    named = [part for setting in settings for part in ("--set", setting)]
    key = ["--set", "generate.llm.key_env=NO_SUCH_KEY"]
    assert "NO_SUCH_KEY" in error(*wanted, *named, *key, "--on", "jobs", "--yes")
    # This Hub's jobs run here and reach it; those of a Hub elsewhere do not.
    from hfembed.errors import InputError
    from hfembed.launch.account import refuse_unreachable
    from hfembed.recipe import make_recipe

    recipe = make_recipe(settings=settings)
    refuse_unreachable(recipe)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.example")
    with pytest.raises(InputError, match="no other machine can reach"):
        refuse_unreachable(recipe)


def test_a_run_that_is_none_is_not_found(wanted: Arguments):
    call(*wanted)
    for command in (["logs"], ["cancel"], ["run", "--resume"]):
        assert "was never sent anywhere" in error(*command, "run")
        assert "hfembed runs" in error(*command, "20990101-000000-abcdef")
    assert "hfembed runs" in error("status", "20990101-000000-abcdef")
    assert [stage["name"] for stage in call("status", "run")["stages"]] == ["pull", "generate"]


def test_a_recipe_that_does_not_fit_what_is_done_is_refused_before_it_is_sent(wanted: Arguments):
    call(*wanted)
    assert "holds a run of another recipe" in error(*wanted, "--set", "seed=7", "--on", "jobs", "--yes")


def test_what_the_machine_leaves_of_the_money_a_language_model_may_cost(corpus: Path, logged_in, tmp_path: Path):
    from hfembed.events import silent
    from hfembed.launch.contract import Place
    from hfembed.launch.send import Conditions, plan
    from hfembed.recipe import make_recipe
    from hfembed.run import Run

    settings = ["generate.method=llm", "generate.llm.model=m", "generate.llm.price_in=1", "generate.llm.price_out=1"]
    recipe = make_recipe(settings=settings, options={"corpus": str(corpus)})
    conditions = Conditions(seconds=1800, max_cost=2.0)
    found = plan(recipe, Run(tmp_path / "run"), Place.parse("jobs:l4x1"), conditions, silent(), until="generate")
    assert found.worst == pytest.approx(0.40, rel=0.01)  # half an hour of a machine at 0.80 an hour
    assert found.order.recipe.generate.llm.max_cost == pytest.approx(1.60, rel=0.01)
