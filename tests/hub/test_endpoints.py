"""Inference Endpoints of the local Hub: the real client makes them, OpenAI's client asks them, hfembed deploys them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError
from openai import AuthenticationError, OpenAI

from hfembed.deploy.endpoint import EndpointWishes, choose_hardware, engine_image, plan_endpoint
from hfembed.embed import load_model
from hfembed.errors import InputError, ModelError
from hfembed.events import silent
from hfembed.hub import local_model
from hfembed.hub.endpoints import EndpointHardware, _as_hardware
from hfembed.localhub import LocalHub
from hfembed.localhub.hardware import ENDPOINT_HARDWARE

QUERY = "a leaking pump"
MACHINE = {
    "framework": "pytorch",
    "task": "sentence-embeddings",
    "accelerator": "cpu",
    "vendor": "aws",
    "region": "us-east-1",
    "instance_type": "intel-spr",
    "instance_size": "x2",
    "custom_image": {"tei": {"url": "ghcr.io/huggingface/text-embeddings-inference:cpu-1.8", "healthRoute": "/health"}},
}


@pytest.fixture(autouse=True)
def _endpoints_of_this_hub(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{hub.url}/v2")


@pytest.fixture
def published(api: HfApi, tiny_model: Path) -> str:
    """A tiny model in a private repo of demo's."""
    api.create_repo("demo/Tiny_Served", private=True, exist_ok=True)
    api.upload_folder(repo_id="demo/Tiny_Served", folder_path=tiny_model)
    return "demo/Tiny_Served"


@pytest.fixture
def machines() -> list[EndpointHardware]:
    """What the local Hub offers."""
    return [
        _as_hardware(vendor["name"], region["name"], item)
        for vendor in ENDPOINT_HARDWARE
        for region in vendor["regions"]
        for item in region["computes"]
    ]


def ask(address: str, key: str) -> Any:
    """Ask an endpoint with OpenAI's client."""
    client = OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)
    return client.embeddings.create(model="demo/Tiny_Served", input=QUERY).data[0].embedding


def test_an_endpoint_lives_from_its_making_to_its_end_under_the_real_client(
    api: HfApi, published: str, token: str, hub: LocalHub, tiny_model: Path
):
    made = api.create_inference_endpoint("tiny-life", repository=published, namespace="demo", token=token, **MACHINE)
    assert made.status in ("pending", "initializing") and made.url is None
    made.wait(timeout=120, refresh_every=1)
    expected = load_model(local_model("tiny", tiny_model)).encode([QUERY])[0]
    assert ask(made.url, token) == pytest.approx(expected.tolist(), abs=1e-5)
    with pytest.raises(AuthenticationError):
        ask(made.url, hub.add_user("stranger"))
    assert requests.get(f"{made.url}/health", timeout=30).status_code == 401
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_inference_endpoint("tiny-life", repository=published, namespace="demo", **MACHINE)
    assert [found.name for found in api.list_inference_endpoints("demo")] == ["tiny-life"]
    assert made.pause().status == "paused"
    assert (
        requests.get(f"{hub.url}/endpoints/demo/tiny-life/health", headers=_bearer(token), timeout=30).status_code
        == 503
    )
    assert made.resume().wait(timeout=120, refresh_every=1).status == "running"
    made.delete()
    with pytest.raises(HfHubHTTPError, match="404"):
        made.fetch()
    assert not list((hub.root / "endpoints").glob("*"))


def test_what_cannot_be_served_is_refused_or_fails_with_its_reason(
    api: HfApi, published: str, other: HfApi, token: str
):
    with pytest.raises(HfHubHTTPError, match="does not exist at this provider"):
        api.create_inference_endpoint("wrong", repository=published, namespace="demo", **{**MACHINE, "region": "moon"})
    with pytest.raises(HfHubHTTPError, match="may not read it"):
        other.create_inference_endpoint("mine", repository=published, namespace="other", **MACHINE)
    with pytest.raises(HfHubHTTPError, match="rights to see or make endpoints of demo"):
        other.create_inference_endpoint("theirs", repository=published, namespace="demo", **MACHINE)
    empty = api.create_repo("demo/no-model").repo_id
    made = api.create_inference_endpoint("no-model", repository=empty, namespace="demo", token=token, **MACHINE)
    with pytest.raises(Exception, match="failed to deploy"):
        made.wait(timeout=120, refresh_every=1)
    assert "is not a model" in made.fetch().raw["status"]["message"]
    made.delete()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def deploy(user_environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run hfembed deploy endpoint as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "hfembed", "deploy", "endpoint", *options],
        env={**os.environ, **user_environment, "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        timeout=180,
        stdin=subprocess.DEVNULL,
    )


def test_a_deployed_model_answers_and_the_same_command_again_keeps_it(
    api: HfApi, published: str, token: str, user_environment: dict[str, str]
):
    unasked = deploy(user_environment, published)
    assert unasked.returncode != 0 and "$0.067 for every hour" in unasked.stderr and "--yes" in unasked.stderr
    assert not api.list_inference_endpoints("demo")
    done = [deploy(user_environment, published, "--yes", "--format", "json") for _ in range(2)]
    assert [one.returncode for one in done] == [0, 0], done[-1].stderr
    found = [json.loads(one.stdout) for one in done]
    assert found[0] == found[1] and found[0]["endpoint"] == "demo/tiny-served" and found[0]["stage"] == "running"
    assert len(ask(found[0]["address"].removesuffix("/v1"), token)) == 32
    assert all(token not in one.stdout + one.stderr for one in (unasked, *done))
    taken = deploy(user_environment, published, "--yes", "--name", "tiny-served", "--hardware", "nvidia-l5")
    assert taken.returncode != 0 and "Did you mean 'nvidia-l4'?" in taken.stderr
    api.delete_inference_endpoint("tiny-served", namespace="demo")


def test_a_plan_says_all_and_makes_nothing(api: HfApi, published: str, user_environment: dict[str, str]):
    shown = deploy(
        user_environment, published, "--hardware", "nvidia-t4", "--sleep", "1h", "--dry-run", "--format", "json"
    )
    assert shown.returncode == 0, shown.stderr
    plan = json.loads(shown.stdout)
    assert plan["image"].endswith(":turing-1.8") and plan["dollars_per_hour"] == 0.5
    assert plan["request"]["model"]["revision"] == api.model_info(published).sha
    assert plan["request"]["compute"]["scaling"] == {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 60}
    assert not api.list_inference_endpoints("demo")


def test_a_model_that_the_engine_would_serve_otherwise_is_refused(
    api: HfApi, token: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", token)
    api.create_repo("demo/weighted")
    api.upload_folder(repo_id="demo/weighted", folder_path=tiny_model, ignore_patterns=["1_Pooling/*"])
    pooling = {
        "word_embedding_dimension": 32,
        "pooling_mode_weightedmean_tokens": True,
        "pooling_mode_mean_tokens": False,
    }
    api.upload_file(
        path_or_fileobj=json.dumps(pooling).encode(), path_in_repo="1_Pooling/config.json", repo_id="demo/weighted"
    )
    with pytest.raises(ModelError, match="pools its tokens by 'weightedmean'") as refused:
        plan_endpoint("demo/weighted", EndpointWishes(), silent())
    assert "hfembed serve demo/weighted" in str(refused.value.hint)


def test_the_cheapest_machine_that_is_free_and_has_room_is_taken(machines: list[EndpointHardware]):
    def chosen(wanted: str | None, gigabytes: float) -> str:
        return choose_hardware(wanted, machines, int(gigabytes * 1e9)).name

    assert chosen(None, 0.1) == "aws/us-east-1/intel-spr/x2"
    assert chosen("eu-west-1", 0.1) == "aws/eu-west-1/intel-spr/x2"
    assert chosen("cpu", 5) == "aws/us-east-1/intel-spr/x8"
    assert chosen("gpu", 1) == "aws/us-east-1/nvidia-t4/x1"
    assert chosen("gpu", 8) == "aws/us-east-1/nvidia-l4/x1"
    with pytest.raises(InputError, match="No machine 'nvidia-t4' is free that has 40 GB"):
        chosen("nvidia-t4", 20)
    builds = {machine.type: engine_image(machine).rpartition(":")[2] for machine in machines}
    assert builds["nvidia-l40s"] == "89-1.8" and builds["nvidia-a100"] == "1.8" and builds["intel-spr"] == "cpu-1.8"
