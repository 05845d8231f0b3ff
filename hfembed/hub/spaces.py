"""Spaces that work: made, filled, started, watched, paused and removed; one of the user's at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from hfembed.errors import HubError
from hfembed.events import Reporter, silent
from hfembed.hardware import Hardware
from hfembed.hub.identity import client
from hfembed.hub.jobs import LogLine, as_hardware, read_log, request
from hfembed.hub.problems import hub_errors, status_of
from hfembed.hub.publish import retry
from hfembed.hub.runs import hub_address

T = TypeVar("T")

KIND = "space"
# Nothing runs, and nothing will unless someone asks for it.
AT_REST = (
    "PAUSED", "SLEEPING", "STOPPED", "RUNTIME_ERROR", "BUILD_ERROR", "CONFIG_ERROR", "NO_APP_FILE", "DELETING",
)  # fmt: skip
GONE = "DELETED"
# What costs nothing sleeps when the Hub says, not when its owner does.
ZERO_GPU = "zero-a10g"
OWN_SLEEP = ("cpu-basic", ZERO_GPU)
START_SECONDS, LOOK_SECONDS = 60.0, 0.5


@dataclass(frozen=True)
class SpaceState:
    """How a Space stands. stage is the Hub's word; one that is not known counts as live. revision: the commit that runs."""

    stage: str
    message: str = ""
    flavor: str | None = None
    revision: str | None = None

    @property
    def is_at_rest(self) -> bool:
        """Tell whether nothing runs there."""
        return self.stage in (*AT_REST, GONE)

    @property
    def is_waiting(self) -> bool:
        """Tell whether it has not begun to run."""
        return not self.is_at_rest and self.stage != "RUNNING"


class Space:
    """One Space of the user's."""

    def __init__(self, name: str, report: Reporter | None = None) -> None:
        """Address the Space `owner/name`; nothing is sent yet."""
        self.name = name
        self._report = report or silent()

    @property
    def url(self) -> str:
        """Its page."""
        return f"{hub_address()}/spaces/{self.name}"

    def prepare(
        self, sdk: str, flavor: str, sleep_seconds: int, secrets: Mapping[str, str], variables: Mapping[str, str]
    ) -> None:
        """Make the Space, for its owner's eyes only, or give one that is there other settings."""
        if self.state().stage == GONE:
            self.make(sdk, flavor, sleep_seconds, private=True, secrets=secrets, variables=variables)
            return
        for key, value in secrets.items():
            self._call(lambda api, key=key, value=value: api.add_space_secret(self.name, key, value))  # type: ignore[misc]
        for key, value in variables.items():
            self._call(lambda api, key=key, value=value: api.add_space_variable(self.name, key, value))  # type: ignore[misc]
        self.request(flavor, sleep_seconds)

    def make(
        self,
        sdk: str,
        flavor: str,
        sleep_seconds: int | None,
        *,
        private: bool,
        secrets: Mapping[str, str] = MappingProxyType({}),
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Make a Space that is not there yet; nothing is in it, so nothing runs."""
        items = [[{"key": key, "value": value} for key, value in part.items()] for part in (secrets, variables)]
        self._call(
            lambda api: api.create_repo(
                self.name,
                repo_type=KIND,
                private=private,
                exist_ok=True,
                space_sdk=sdk,
                space_hardware=flavor,
                space_sleep_time=_sleep(flavor, sleep_seconds),
                space_secrets=items[0] or None,
                space_variables=items[1] or None,
            )
        )

    def request(self, flavor: str, sleep_seconds: int | None) -> None:
        """Ask for other hardware, and for sleep when nobody visits for so long."""
        sleep = _sleep(flavor, sleep_seconds)
        self._call(lambda api: api.request_space_hardware(self.name, flavor, sleep_time=sleep))

    def hide(self) -> None:
        """Let nobody see it but its owner."""
        self._call(lambda api: api.update_repo_settings(self.name, private=True, repo_type=KIND))

    def address(self) -> str:
        """Return where its app is reached while it runs."""
        return str(self._call(lambda api: api.space_info(self.name)).host)

    def commit(self, files: Mapping[str, bytes], message: str) -> None:
        """Put files into it, which builds it; what is there already changes nothing."""
        from huggingface_hub import CommitOperationAdd

        def once(api: Any) -> None:
            operations = [CommitOperationAdd(name, content) for name, content in files.items()]
            api.create_commit(self.name, operations, commit_message=message, repo_type=KIND)

        self._call(once)

    def restart(self) -> None:
        """Build it anew and start it, also out of a pause; wait until it is on its way."""
        self._call(lambda api: api.restart_space(self.name, factory_reboot=True))
        deadline = time.monotonic() + START_SECONDS
        while self.state().is_at_rest and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)

    def state(self) -> SpaceState:
        """Return how it stands; one that is not there is gone."""
        from huggingface_hub.errors import HfHubHTTPError

        def once(api: Any) -> SpaceState:
            try:
                runtime = api.get_space_runtime(self.name)
            except HfHubHTTPError as error:
                if status_of(error) == 404:
                    return SpaceState(GONE)
                raise
            flavor = runtime.hardware or runtime.requested_hardware
            revision = runtime.raw.get("sha")
            return SpaceState(str(runtime.stage), str(runtime.raw.get("errorMessage") or ""), flavor, revision)

        return self._call(once)

    def log(self) -> Iterator[LogLine | None]:
        """Yield what it has said since it was started last, as it comes; None where it said nothing for a while."""
        return read_log(f"/api/spaces/{self.name}/logs/run")

    def pause(self) -> None:
        """Stop it: it costs nothing until it is started again."""
        self._call(lambda api: api.pause_space(self.name))

    def delete(self) -> None:
        """Remove it, with its settings and secrets."""
        self._call(lambda api: api.delete_repo(self.name, repo_type=KIND, missing_ok=True))

    def _call(self, what: Callable[[Any], T]) -> T:
        with hub_errors(f"Space {self.name}"):
            return retry(lambda: what(client()), self._report)


def _sleep(flavor: str, seconds: int | None) -> int | None:
    return None if flavor in OWN_SLEEP else seconds


def space_hardware(report: Reporter) -> list[Hardware]:
    """Return what a Space can ask for, at today's prices; ZeroGPU is for visitors, not for runs."""
    with hub_errors("list of hardware of Spaces"):
        found = retry(lambda: request("GET", "/api/spaces/hardware"), report)
    if not isinstance(found, list):
        raise HubError("The Hub tells the hardware of Spaces in a form that hfembed does not know.")
    return [as_hardware(values) for values in found if not str(values.get("name")).startswith("zero")]
