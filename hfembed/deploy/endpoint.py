"""An Inference Endpoint that serves a published model with text-embeddings-inference: planned, made, and waited for."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from hfembed.errors import HubError, InputError, ModelError, choices, nearest
from hfembed.events import Reporter
from hfembed.hub import REPO_ID, model_configs
from hfembed.hub.collections import slugify
from hfembed.hub.endpoints import (
    ASLEEP,
    FAILED,
    GONE,
    PAUSED,
    RUNNING,
    EndpointHardware,
    EndpointState,
    InferenceEndpoint,
    endpoint_hardware,
)
from hfembed.push.serving import Serving
from hfembed.resources import local_path
from hfembed.run import Run

ENGINE = "ghcr.io/huggingface/text-embeddings-inference"
ENGINE_VERSION = "1.8"
# text-embeddings-inference is built for each generation of GPUs; what is not named here takes the plain build.
ENGINE_BUILDS = {"t4": "turing-", "a10g": "86-", "l4": "89-", "l40s": "89-", "h100": "hopper-", "h200": "hopper-"}
HEALTH = "/health"
# Where nobody says otherwise: what is near to most, and cheap.
REGION = ("aws", "us-east-1")
LEAST_MEMORY_GB = 4
# A model needs room beside its weights: for texts on their way, and the server itself.
ROOM = 2.0
SLEEP_SECONDS = 15 * 60
PATIENCE_SECONDS = 30 * 60.0
NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")
STAGES = {
    "pending": "waits for a machine",
    "initializing": "is starting",
    "updating": "is being updated",
    RUNNING: "runs; it is not answering yet",
}


class Access(StrEnum):
    """Who may ask an endpoint. protected: whoever has a token of its namespace."""

    PROTECTED = "protected"
    PUBLIC = "public"
    PRIVATE = "private"


@dataclass(frozen=True)
class EndpointWishes:
    """What an endpoint is to be. hardware: vendor/region/type/size, or a part of it; nothing takes the cheapest."""

    name: str | None = None
    owner: str | None = None
    hardware: str | None = None
    access: Access = Access.PROTECTED
    sleep_seconds: int | None = SLEEP_SECONDS
    most_replicas: int = 1


@dataclass(frozen=True)
class EndpointPlan:
    """All that is decided before anything is made. body: what the Hub is sent."""

    repo: str
    revision: str
    owner: str
    name: str
    hardware: EndpointHardware
    image: str
    body: dict[str, Any] = field(repr=False)

    @property
    def hourly(self) -> float:
        """What it costs at most while it is up, in dollars an hour."""
        return (self.hardware.facts.hourly or 0.0) * int(self.body["compute"]["scaling"]["maxReplica"])

    def to_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return {
            "repo": self.repo,
            "revision": self.revision,
            "endpoint": f"{self.owner}/{self.name}",
            "hardware": self.hardware.name,
            "dollars_per_hour": self.hourly,
            "image": self.image,
            "request": self.body,
        }


@dataclass(frozen=True)
class EndpointDeployed:
    """An endpoint as it was left. address: where OpenAI's clients find it, once it answers."""

    endpoint: str
    repo: str
    revision: str
    stage: str
    hardware: str
    url: str
    address: str | None

    def to_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return asdict(self)


def plan_endpoint(model: str, wishes: EndpointWishes, report: Reporter) -> EndpointPlan:
    """Decide how a published model is to be served. model: its Hub id, or a run that was pushed.

    Raises ModelError for a model that the engine would serve otherwise than it was tested.
    """
    repo, revision = _published(model)
    configs = model_configs(f"{repo}@{revision}" if revision else repo)
    serving = Serving.read(configs.path)
    refuse_unservable(repo, serving)
    owner = wishes.owner or repo.split("/")[0]
    name = wishes.name or suggest_name(repo)
    if not NAME.fullmatch(name):
        raise InputError(
            f"'{name}' is no name of an endpoint: up to 32 small letters, digits and hyphens.", f"--name {_plain(name)}"
        )
    machines = endpoint_hardware(owner, report)
    hardware = choose_hardware(wishes.hardware, machines, configs.weights_bytes)
    image = engine_image(hardware)
    plan = EndpointPlan(repo, str(configs.revision), owner, name, hardware, image, {})
    return replace(plan, body=_body(plan, wishes))


def deploy_endpoint(plan: EndpointPlan, report: Reporter) -> EndpointDeployed:
    """Make the endpoint, or bring it up to date, and wait until it answers; safe to repeat.

    Raises HubError where it does not come to run, with the reason that the Hub gives.
    """
    endpoint = InferenceEndpoint(plan.owner, plan.name, report)
    before = endpoint.state()
    if before.stage == GONE:
        endpoint.create(plan.body)
    elif before.repo.lower() != plan.repo.lower():
        raise HubError(
            f"The endpoint {plan.owner}/{plan.name} is there already, and serves {before.repo}.",
            "Give this one another name: --name NAME",
        )
    else:
        endpoint.update({part: plan.body[part] for part in ("compute", "model")})
        if before.stage in (PAUSED, ASLEEP):
            endpoint.resume()
    state = _await(endpoint, report)
    return EndpointDeployed(
        endpoint=f"{plan.owner}/{plan.name}",
        repo=plan.repo,
        revision=plan.revision,
        stage=state.stage,
        hardware=plan.hardware.name,
        url=endpoint.url,
        address=f"{state.address}/v1" if state.address else None,
    )


def refuse_unservable(repo: str, serving: Serving) -> None:
    """Refuse a model that text-embeddings-inference cannot serve, or would serve otherwise than it was tested."""
    if serving.inference_server:
        return
    if not serving.plain:
        wrong = f"is more than a transformer with its pooling ({', '.join(serving.modules) or 'no modules.json'})"
    elif not serving.tokenizer:
        wrong = "has no tokenizer.json"
    elif not serving.pools_prompts:
        wrong = "leaves its prompts out of the mean, which no engine but sentence-transformers does"
    else:
        wrong = f"pools its tokens by '{serving.pooling}'"
    raise ModelError(
        f"text-embeddings-inference cannot serve {repo} as it was tested: it {wrong}.",
        f"hfembed serve {repo} does, on a machine of yours.",
    )


def choose_hardware(wanted: str | None, machines: Sequence[EndpointHardware], weights: int) -> EndpointHardware:
    """Return the cheapest machine that is free, fits what is asked for and has room for the model.

    wanted: vendor/region/type/size, or any part of these with slashes between, also cpu or gpu.
    """
    parts = set((wanted or "cpu").lower().split("/"))
    known = {part for machine in machines for part in _parts(machine)}
    if unknown := sorted(parts - known):
        kinds = sorted({machine.type for machine in machines})
        raise InputError(
            f"'{unknown[0]}' is no machine that endpoints stand on; allowed: {choices(['cpu', 'gpu', *kinds])}. "
            f"{nearest(unknown[0], known)}".strip(),
            "--hardware VENDOR/REGION/TYPE/SIZE, or a part of it: --hardware nvidia-l4",
        )
    fitting = [machine for machine in machines if parts <= _parts(machine)]
    needed = max(LEAST_MEMORY_GB, weights * ROOM / 1e9)
    roomy = [machine for machine in fitting if machine.is_free and _room(machine) >= needed]
    if not roomy:
        raise InputError(
            f"No machine '{wanted or 'cpu'}' is free that has {needed:.0f} GB of memory, which this model needs.",
            "--hardware gpu takes the cheapest with a GPU; the Hub's page of prices shows all.",
        )
    return min(roomy, key=lambda machine: (machine.facts.hourly, (machine.vendor, machine.region) != REGION))


def engine_image(hardware: EndpointHardware) -> str:
    """Return the build of text-embeddings-inference for a machine."""
    if hardware.accelerator != "gpu":
        return f"{ENGINE}:cpu-{ENGINE_VERSION}"
    build = ENGINE_BUILDS.get(hardware.type.lower().removeprefix("nvidia-"), "")
    return f"{ENGINE}:{build}{ENGINE_VERSION}"


def suggest_name(repo: str) -> str:
    """Return a name for the endpoint of a model."""
    return _plain(repo.split("/")[-1])


def _published(model: str) -> tuple[str, str]:
    folder = local_path(model)
    if folder is None or not folder.is_dir():
        repo, _, revision = model.partition("@")
        if not REPO_ID.match(repo):
            raise InputError(f"'{model}' is neither a model of the Hub nor a run.", "hfembed deploy endpoint ORG/NAME")
        return repo, revision
    pushed = Run.open(folder).manifests("push").get("push")
    found = next((made for made in pushed.facts["published"] if made["kind"] == "model"), None) if pushed else None
    if found is None:
        raise InputError(
            f"'{folder}' was not pushed: an endpoint takes its model from the Hub.",
            f"hfembed push {folder} --model-repo ORG/NAME",
        )
    return str(found["repo"]), str(found["revision"])


def _body(plan: EndpointPlan, wishes: EndpointWishes) -> dict[str, Any]:
    machine = plan.hardware
    sleep = None if wishes.sleep_seconds is None else max(1, round(wishes.sleep_seconds / 60))
    return {
        "name": plan.name,
        "type": wishes.access.value,
        "provider": {"vendor": machine.vendor, "region": machine.region},
        "compute": {
            "accelerator": machine.accelerator,
            "instanceType": machine.type,
            "instanceSize": machine.size,
            "scaling": {
                "minReplica": 0 if sleep else 1,
                "maxReplica": wishes.most_replicas,
                "scaleToZeroTimeout": sleep,
            },
        },
        "model": {
            "repository": plan.repo,
            "revision": plan.revision,
            "framework": "pytorch",
            "task": "sentence-embeddings",
            "image": {"tei": {"url": plan.image, "healthRoute": HEALTH}},
            # Longer texts are cut where the model ends, as sentence-transformers does, and not refused.
            "env": {"AUTO_TRUNCATE": "true"},
        },
        "tags": ["hfembed"],
    }


def _await(endpoint: InferenceEndpoint, report: Reporter) -> EndpointState:
    said, task, begun = "", None, time.monotonic()
    while True:
        state = endpoint.state()
        if state.stage in (*FAILED, GONE, PAUSED):
            reason = f" {state.message.strip()}" if state.message else ""
            raise HubError(
                f"The endpoint {endpoint.owner}/{endpoint.name} does not run: {state.stage}.{reason}",
                f"Its log is on its page: {endpoint.url}",
            )
        if state.stage == RUNNING and endpoint.answers(state):
            if task:
                task.finish()
            return state
        if time.monotonic() - begun > PATIENCE_SECONDS:
            raise HubError(
                f"The endpoint {endpoint.name} does not answer after {PATIENCE_SECONDS / 60:.0f} minutes: {state.stage}.",
                f"It may still come, and costs money while it tries: {endpoint.url}",
            )
        words = STAGES.get(state.stage, f"is {state.stage}")
        if words != said:
            said, task = words, report.task(f"the endpoint {words}")
        # A start takes minutes, a local one seconds.
        time.sleep(min(5.0, 0.5 + (time.monotonic() - begun) / 10))


def _parts(machine: EndpointHardware) -> set[str]:
    return {part.lower() for part in (machine.vendor, machine.region, machine.type, machine.size, machine.accelerator)}


def _room(machine: EndpointHardware) -> float:
    return machine.facts.gpu_memory if machine.accelerator == "gpu" else machine.facts.memory


def _plain(name: str) -> str:
    return slugify(name)[:32].strip("-") or "endpoint"
