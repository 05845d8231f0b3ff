"""Jobs: a thin client of the Hub's API, since older clients know neither HF_ENDPOINT here, nor labels, nor prices."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from hfembed.errors import HubError
from hfembed.events import Reporter, silent
from hfembed.hardware import Hardware
from hfembed.hub.identity import headers
from hfembed.hub.problems import hub_errors
from hfembed.hub.publish import retry

OVER = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
REQUEST_SECONDS = 30
# A log that has nothing to say says so every 30 seconds; a connection silent for longer is lost.
SILENT_SECONDS = 75
UNITS = {"minute": 60, "hour": 1}


@dataclass(frozen=True)
class JobSpec:
    """What a job is asked to do. secrets are shown nowhere, not even by `repr`."""

    image: str
    command: list[str]
    flavor: str
    seconds: int
    labels: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the body of the request."""
        return {
            "dockerImage": self.image,
            "command": self.command,
            "arguments": [],
            "environment": self.environment,
            "secrets": self.secrets,
            "flavor": self.flavor,
            "timeoutSeconds": self.seconds,
            "labels": self.labels,
        }


@dataclass(frozen=True)
class JobState:
    """How a job stands. stage is the Hub's word; one that is not known counts as live."""

    id: str
    owner: str
    stage: str
    message: str
    labels: Mapping[str, str]
    url: str

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more comes of it."""
        return self.stage in OVER

    @property
    def is_waiting(self) -> bool:
        """Tell whether it has not begun to run."""
        return self.stage not in (*OVER, "RUNNING", "UPDATING")


@dataclass(frozen=True)
class LogLine:
    """One line of a job's log. timestamp sorts as text."""

    text: str
    timestamp: str


class Jobs:
    """The jobs of one namespace."""

    def __init__(self, owner: str, report: Reporter | None = None) -> None:
        """Speak for `owner`, with the token that the client is logged in with; nothing is sent yet."""
        self.owner = owner
        self._report = report or silent()

    def start(self, spec: JobSpec) -> JobState:
        """Start a job, once: where an answer was lost, a job with these labels is looked for before another is made."""
        tries = iter([self._post_job])

        def once() -> JobState:
            call = next(tries, None) or self._find_or_post
            return call(spec)

        with hub_errors(f"job of {self.owner}"):
            return retry(once, self._report)

    def _find_or_post(self, spec: JobSpec) -> JobState:
        found = self._list(spec.labels)
        return found[0] if found else self._post_job(spec)

    def _post_job(self, spec: JobSpec) -> JobState:
        return self._state(request("POST", f"/api/jobs/{self.owner}", json=spec.to_json()))

    def inspect(self, job: str) -> JobState:
        """Return how a job stands."""
        with hub_errors(f"job {self.owner}/{job}"):
            return retry(lambda: self._state(request("GET", f"/api/jobs/{self.owner}/{job}")), self._report)

    def find(self, labels: Mapping[str, str]) -> list[JobState]:
        """Return the jobs that carry all of these labels, newest first."""
        with hub_errors(f"jobs of {self.owner}"):
            return retry(lambda: self._list(labels), self._report)

    def _list(self, labels: Mapping[str, str]) -> list[JobState]:
        from huggingface_hub import constants
        from huggingface_hub.utils._pagination import paginate

        wanted = {"label": [f"{name}={value}" for name, value in labels.items()]}
        found = paginate(f"{constants.ENDPOINT}/api/jobs/{self.owner}", wanted, headers())
        jobs = [self._state(values) for values in found]
        return [job for job in jobs if labels.items() <= dict(job.labels).items()]

    def cancel(self, job: str) -> None:
        """End a job; one that is over stays as it is."""
        with hub_errors(f"job {self.owner}/{job}"):
            try:
                retry(lambda: request("POST", f"/api/jobs/{self.owner}/{job}/cancel"), self._report)
            except Exception:
                if not self.inspect(job).is_over:  # the answer to an earlier try may have been lost
                    raise

    def log(self, job: str) -> Iterator[LogLine | None]:
        """Yield a job's log from its first line, as it comes; None where there was nothing to say for a while."""
        return read_log(f"/api/jobs/{self.owner}/{job}/logs")

    def hardware(self) -> list[Hardware]:
        """Return what a job can ask for, at today's prices."""
        with hub_errors("list of hardware"):
            found = retry(lambda: request("GET", "/api/jobs/hardware"), self._report)
        return [as_hardware(values) for values in found]

    def _state(self, values: dict[str, Any]) -> JobState:
        from huggingface_hub import constants

        owner = str((values.get("owner") or {}).get("name") or self.owner)
        return JobState(
            id=str(values["id"]),
            owner=owner,
            stage=str(values["status"]["stage"]),
            message=str(values["status"].get("message") or ""),
            labels=values.get("labels") or {},
            url=f"{constants.ENDPOINT}/jobs/{owner}/{values['id']}",
        )


def request(method: str, path: str, at: str | None = None, **options: Any) -> Any:
    """Ask the Hub, with the token that the client is logged in with; return what it answers.

    at: the address of one of its services that stands beside it.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    answer: Any = get_session().request(
        method, (at or constants.ENDPOINT) + path, headers=headers(), timeout=REQUEST_SECONDS, **options
    )
    hf_raise_for_status(answer)
    return answer.json()


def read_log(path: str) -> Iterator[LogLine | None]:
    """Yield a log of the Hub from its first line, as it comes; None where there was nothing to say for a while."""
    from huggingface_hub import constants

    with _open_stream(constants.ENDPOINT + path, headers()) as lines:
        for line in lines:
            if line.startswith(("data: {", "data:{")):
                values = json.loads(line.removeprefix("data:"))
                yield LogLine(str(values.get("data", "")), str(values.get("timestamp", "")))
            elif line.startswith((":", "data:")):  # a Space's keep-alive is an event without content
                yield None


@contextmanager
def _open_stream(address: str, headers: Mapping[str, str]) -> Iterator[Iterator[str]]:
    """Give the lines of an answer as they come, through requests (0.x) or httpx (1.x, 2.x)."""
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    session: Any = get_session()
    is_httpx = callable(session.stream)  # requests has a setting of that name
    opened: AbstractContextManager[Any] = (
        session.stream("GET", address, headers=headers, timeout=SILENT_SECONDS)
        if is_httpx
        else session.get(address, headers=headers, timeout=SILENT_SECONDS, stream=True)
    )
    with opened as answer:
        hf_raise_for_status(answer)
        yield answer.iter_lines() if is_httpx else answer.iter_lines(chunk_size=1, decode_unicode=True)


def as_hardware(values: dict[str, Any]) -> Hardware:
    """Return a machine and its price as the Hub tells them."""
    try:
        gpu = values.get("accelerator") or {}
        per_hour = UNITS[str(values.get("unitLabel", "minute"))]
        return Hardware(
            name=str(values["name"]),
            title=str(values.get("prettyName") or values["name"]),
            cpus=int(_number(values["cpu"])),
            memory=_number(values["ram"]),
            gpus=int(gpu.get("quantity") or 0),
            gpu=str(gpu.get("model") or ""),
            gpu_memory=_number(gpu.get("vram") or "0"),
            hourly=float(values["unitCostUSD"]) * per_hour,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HubError(f"The Hub tells its hardware in a form that hfembed does not know: {error!r}.") from error


def _number(text: str) -> float:
    """Return the number at the start of a text such as '16 GB'."""
    return float(str(text).split()[0])
