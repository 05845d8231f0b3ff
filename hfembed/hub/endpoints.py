"""Inference Endpoints: machines of the Hub that serve one model to its clients, by the hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from hfembed.events import Reporter, silent
from hfembed.hardware import Hardware
from hfembed.hub.identity import headers
from hfembed.hub.jobs import REQUEST_SECONDS, request
from hfembed.hub.problems import hub_errors, status_of
from hfembed.hub.publish import retry
from hfembed.hub.runs import hub_address

T = TypeVar("T")

OFFICIAL_HUB = "https://huggingface.co"
GONE = "deleted"
FAILED = ("failed", "updateFailed")
RUNNING, PAUSED, ASLEEP = "running", "paused", "scaledToZero"


@dataclass(frozen=True)
class EndpointHardware:
    """A machine that an endpoint can stand on. name: vendor/region/type/size, as one asks for it."""

    vendor: str
    region: str
    accelerator: str
    type: str
    size: str
    facts: Hardware
    is_free: bool = True

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return f"{self.vendor}/{self.region}/{self.type}/{self.size}"


@dataclass(frozen=True)
class EndpointState:
    """How an endpoint stands. stage is the Hub's word; address is where it answers, once it does."""

    stage: str
    message: str = ""
    address: str | None = None
    repo: str = ""
    revision: str = ""


class InferenceEndpoint:
    """One endpoint of a namespace."""

    def __init__(self, owner: str, name: str, report: Reporter | None = None) -> None:
        """Address the endpoint `name` of `owner`; nothing is sent yet."""
        self.owner, self.name = owner, name
        self._report = report or silent()

    @property
    def url(self) -> str:
        """Its page."""
        if hub_address() == OFFICIAL_HUB:
            return f"https://endpoints.huggingface.co/{self.owner}/endpoints/{self.name}"
        return api_address() + self._path

    @property
    def _path(self) -> str:
        return f"/endpoint/{self.owner}/{self.name}"

    def create(self, body: dict[str, Any]) -> EndpointState:
        """Make it; where the answer to an earlier try was lost, what that made is taken."""
        from huggingface_hub.errors import HfHubHTTPError

        tries = 0

        def once() -> EndpointState:
            nonlocal tries
            tries += 1
            try:
                return _state(request("POST", f"/endpoint/{self.owner}", api_address(), json=body))
            except HfHubHTTPError as error:
                if tries > 1 and status_of(error) == 409:
                    return _state(request("GET", self._path, api_address()))
                raise

        return self._call(once)

    def update(self, body: dict[str, Any]) -> EndpointState:
        """Give one that is there another model or machine."""
        return self._call(lambda: _state(request("PUT", self._path, api_address(), json=body)))

    def resume(self) -> EndpointState:
        """Start one that was paused."""
        return self._call(lambda: _state(request("POST", f"{self._path}/resume", api_address())))

    def state(self) -> EndpointState:
        """Return how it stands; one that is not there is gone."""
        from huggingface_hub.errors import HfHubHTTPError

        def once() -> EndpointState:
            try:
                return _state(request("GET", self._path, api_address()))
            except HfHubHTTPError as error:
                if status_of(error) == 404:
                    return EndpointState(GONE)
                raise

        return self._call(once)

    def answers(self, state: EndpointState) -> bool:
        """Tell whether what runs there says that it is well: the first moments of a start it does not."""
        from huggingface_hub.utils._http import get_session

        if state.address is None:
            return False
        answer: Any = get_session().get(f"{state.address}/health", headers=headers(), timeout=REQUEST_SECONDS)
        return bool(answer.status_code == 200)

    def _call(self, what: Callable[[], T]) -> T:
        with hub_errors(f"Inference Endpoint {self.owner}/{self.name}"):
            return retry(what, self._report)


def api_address() -> str:
    """Return where Inference Endpoints are spoken to: a service of its own beside the Hub, here a part of it."""
    from huggingface_hub import constants

    return str(constants.INFERENCE_ENDPOINTS_ENDPOINT) if hub_address() == OFFICIAL_HUB else f"{hub_address()}/v2"


def endpoint_hardware(owner: str, report: Reporter) -> list[EndpointHardware]:
    """Return the machines that a namespace can have endpoints on, at today's prices."""
    with hub_errors(f"list of hardware for endpoints of {owner}"):
        found = retry(lambda: request("GET", f"/provider/{owner}", api_address()), report)
    return [
        _as_hardware(vendor["name"], region["name"], compute)
        for vendor in found["vendors"]
        for region in vendor["regions"]
        for compute in region["computes"]
    ]


def _as_hardware(vendor: str, region: str, values: dict[str, Any]) -> EndpointHardware:
    gpus = int(values.get("numAccelerators") or 0) if values["accelerator"] == "gpu" else 0
    facts = Hardware(
        name=str(values.get("id") or values["instanceType"]),
        title=f"{values.get('architecture') or values['instanceType']} {values['instanceSize']}",
        cpus=int(values.get("numCpus") or 0),
        memory=float(values.get("memoryGb") or 0),
        gpus=gpus,
        gpu=str(values["instanceType"]) if gpus else "",
        gpu_memory=float(values.get("gpuMemoryGb") or 0),
        hourly=float(values["pricePerHour"]),
    )
    size, kind = str(values["instanceSize"]), str(values["instanceType"])
    is_free = values.get("status") in ("available", "low_availability")
    return EndpointHardware(vendor, region, str(values["accelerator"]), kind, size, facts, is_free)


def _state(values: dict[str, Any]) -> EndpointState:
    status, model = values["status"], values["model"]
    address = str(status["url"]).rstrip("/") if status.get("url") else None
    message = str(status.get("message") or "")
    return EndpointState(status["state"], message, address, model["repository"], str(model.get("revision") or ""))
