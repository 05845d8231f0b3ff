"""deploy: a Space that serves hfembed, made or brought up to date from the code that runs now."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from hfembed.deploy import entry
from hfembed.deploy.files import space_files
from hfembed.errors import HubError, InputError, choices, nearest
from hfembed.events import Reporter
from hfembed.hardware import Hardware
from hfembed.hub import REPO_ID, Upload, publish
from hfembed.hub.publish import Published, validate
from hfembed.hub.spaces import GONE, ZERO_GPU, Space, SpaceState, space_hardware

SDK = "gradio"
MESSAGE = "Serve hfembed"
LOOK_SECONDS = 0.5
# A first build installs torch; the Hub itself gives up on a start after as long.
PATIENCE_SECONDS = 45 * 60.0
GRACE_SECONDS = 5.0
RESTING = {
    "PAUSED": "is paused, and stays so until it is started on its page",
    "SLEEPING": "sleeps, and wakes when somebody visits it",
}
STAGES = {
    "NO_APP_FILE": "is empty",
    "BUILDING": "is being built",
    "RUNNING_BUILDING": "is being built; the one before still runs",
    "APP_STARTING": "is starting",
    "RUNNING_APP_STARTING": "is starting; the one before still runs",
    "RUNNING": "runs",
}


@dataclass(frozen=True)
class Wanted:
    """What a Space is to be. flavor: its hardware; nothing leaves what is there, or takes what is free for everybody."""

    name: str
    flavor: str | None = None
    private: bool = False
    sleep_seconds: int | None = None
    pull_request: bool = False


@dataclass(frozen=True)
class Deployed:
    """A Space as it was left: `address` is where its app answers, while it runs."""

    space: str
    url: str
    revision: str
    stage: str
    hardware: str | None
    address: str | None
    pull_request: int | None

    def to_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        return asdict(self)


def find_flavor(name: str | None, report: Reporter) -> Hardware | None:
    """Return the hardware of a name, for its price; ZeroGPU and no name cost nothing.

    Raises InputError for a name that no Space can ask for.
    """
    if name in (None, ZERO_GPU):
        return None
    known = {item.name: item for item in space_hardware(report)}
    if name not in known:
        raise InputError(
            f"'{name}' is no hardware of Spaces; allowed: {choices([ZERO_GPU, *known])}. "
            f"{nearest(str(name), [ZERO_GPU, *known])}".strip(),
            f"--hardware {ZERO_GPU}, which is free for everybody",
        )
    return known[str(name)]


def deploy(wanted: Wanted, report: Reporter) -> Deployed:
    """Make the Space, or bring it up to date, and wait until it runs; safe to repeat.

    Raises HubError where it does not come to run, with where its log is.
    """
    if not REPO_ID.fullmatch(wanted.name):
        raise InputError(f"'{wanted.name}' is no name of a Space; it is ORG/NAME.", "hfembed space deploy ORG/NAME")
    space = Space(wanted.name, report)
    before = space.state()
    flavor = wanted.flavor or before.flavor or ZERO_GPU
    files = space_files(flavor, wanted.name.split("/")[1])
    upload = Upload(
        wanted.name,
        "space",
        list(files.items()),
        MESSAGE,
        public=not wanted.private,
        pull_request=wanted.pull_request,
        owned=(entry.WHEELS,),
    )
    validate(upload)
    _settle(space, before, wanted, flavor)
    report.note(f"putting this hfembed into {space.url}")
    published = publish(upload, report)
    if wanted.pull_request:
        return _deployed(space, published, before)
    state = _await(space, published, before, report)
    return _deployed(space, published, state)


def _settle(space: Space, before: SpaceState, wanted: Wanted, flavor: str) -> None:
    """Make the Space where there is none; change of another only what is asked for."""
    if before.stage == GONE:
        space.make(SDK, flavor, wanted.sleep_seconds, private=wanted.private)
        return
    if wanted.flavor or wanted.sleep_seconds:
        space.request(flavor, wanted.sleep_seconds)
    if wanted.private:
        space.hide()


def _await(space: Space, published: Published, before: SpaceState, report: Reporter) -> SpaceState:
    """Wait until the Space runs this commit; one that its owner paused stays so, and one that sleeps is not woken."""
    said, task, begun = "", None, time.monotonic()
    deadline = begun + PATIENCE_SECONDS
    while True:
        state = space.state()
        # A build begins a moment after the commit: until then the Space stands as it stood.
        is_old = state.stage == before.stage and time.monotonic() < begun + GRACE_SECONDS
        is_new = state.revision in (None, published.revision) and not (state.is_at_rest and is_old)
        if state.stage in RESTING and is_new:
            report.warn(f"the Space {RESTING[state.stage]}: {space.url}")
            return state
        if state.stage == "RUNNING" and is_new:
            if task:
                task.finish()
            return state
        if state.is_at_rest and is_new:
            _refuse(space, state)
        if time.monotonic() > deadline:
            raise HubError(
                f"The Space {space.name} is not up after {PATIENCE_SECONDS / 60:.0f} minutes: {state.stage}.",
                f"Its logs are on its page: {space.url}?logs=build",
            )
        words = STAGES.get(state.stage, f"is {state.stage.lower()}")
        if words != said:
            said, task = words, report.task(f"the Space {words}")
        time.sleep(LOOK_SECONDS)


def _refuse(space: Space, state: SpaceState) -> None:
    """Say why a Space does not run, in its own last words, and where to read all of them."""
    log = "build" if state.stage in ("BUILD_ERROR", "CONFIG_ERROR", "NO_APP_FILE") else "container"
    said = f" {state.message.strip()}" if state.message else ""
    raise HubError(f"The Space {space.name} does not run: {state.stage}.{said}", f"Its log: {space.url}?logs={log}")


def _deployed(space: Space, published: Published, state: SpaceState) -> Deployed:
    runs = state.stage == "RUNNING"
    return Deployed(
        space=space.name,
        url=published.url,
        revision=published.revision,
        stage=state.stage,
        hardware=state.flavor,
        address=space.address() if runs else None,
        pull_request=published.pull_request,
    )
