"""Publishing: one commit per repo, safe to repeat, and read back before it counts."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hfembed.errors import HubError
from hfembed.events import Reporter
from hfembed.hub.identity import client, token_option
from hfembed.hub.problems import causes, hub_errors, is_unreachable

if TYPE_CHECKING:
    from huggingface_hub import HfApi
T = TypeVar("T")

# One try of a commit is several requests; on a bad day most tries lose one of them.
TRIES, FEW_TRIES = 30, 3
LONGEST_BACK_OFF = 8.0
LONGEST_ASKED_WAIT = 60.0
RETRIED = {408, 429, 500, 502, 503, 504}
MAX_FILE_BYTES = 200 * 10**9
MAX_FILES = 100
_tries: ContextVar[int] = ContextVar("hfembed_tries", default=TRIES)


@dataclass(frozen=True)
class Upload:
    """What goes into one repo. kind is "model", "dataset" or "space"; files are (path in the repo, file or content)."""

    repo: str
    kind: str
    files: list[tuple[str, Path | bytes]]
    message: str
    public: bool = False
    pull_request: bool = False
    # Folders of the repo that hold our files alone: what an earlier push left there and this one does not write goes.
    owned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """One commit on the Hub."""

    repo: str
    kind: str
    revision: str
    url: str
    pull_request: int | None = None


def publish(upload: Upload, report: Reporter) -> Published:
    """Create the repo if need be and put all files into it with one commit.

    Everything is checked before the first byte goes up. A failed request is repeated: what is already
    there is neither sent nor committed a second time, so repeating is always safe.
    """
    validate(upload)
    api = client()
    with hub_errors(f"{upload.kind} {upload.repo}"):
        retry(lambda: _create_repo(api, upload), report)
        number = retry(lambda: _pull_request(api, upload), report) if upload.pull_request else None
        revision = retry(lambda: _commit(api, upload, number), report)
        if number is not None:
            retry(lambda: _open_draft(api, upload, number), report)
    prefix = "" if upload.kind == "model" else f"{upload.kind}s/"
    url = f"{api.endpoint}/{prefix}{upload.repo}" + (f"/discussions/{number}" if number else "")
    return Published(upload.repo, upload.kind, revision, url, number)


def validate(upload: Upload) -> None:
    """Refuse what the Hub would refuse, before anything is sent."""
    from huggingface_hub.utils._validators import validate_repo_id

    with hub_errors(f"{upload.kind} {upload.repo}"):
        validate_repo_id(upload.repo)
    names = [name for name, _ in upload.files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HubError(f"The {upload.kind} {upload.repo} would get '{twice[0]}' twice.")
    if len(names) > MAX_FILES:
        raise HubError(f"{len(names)} files are too many for one commit; the Hub takes {MAX_FILES}.")
    for name, content in upload.files:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size > MAX_FILE_BYTES:
            raise HubError(f"'{name}' has {size / 1e9:,.0f} GB; the Hub takes files up to 200 GB.")


def left_over(upload: Upload, there: Iterable[str]) -> list[str]:
    """Return what an earlier upload left in the folders that are ours, and this one does not write."""
    written = {name for name, _ in upload.files}
    return [name for name in there if name.split("/")[0] in upload.owned and name not in written]


def read_back(published: Published, files: list[tuple[str, Path | bytes]], folder: Path, report: Reporter) -> Path:
    """Download what was published at its revision into `folder` and compare every byte."""
    from huggingface_hub import snapshot_download

    def download() -> str:
        return snapshot_download(
            published.repo,
            repo_type=published.kind,
            revision=published.revision,
            local_dir=folder,
            token=token_option(),
        )

    with hub_errors(f"{published.kind} {published.repo}"):
        retry(download, report)
    for name, content in files:
        if _digest(folder / name) != _digest(content):
            raise HubError(
                f"'{name}' reads differently at {published.url} than it was sent.", "Push again: hfembed push DIR"
            )
    return folder


@contextmanager
def impatient() -> Iterator[None]:
    """Give up soon, where somebody sits in front of a page and waits for the answer."""
    before = _tries.set(FEW_TRIES)
    try:
        yield
    finally:
        _tries.reset(before)


def retry(call: Callable[[], T], report: Reporter) -> T:
    """Call until it works; wait as long as the Hub asks for, or longer each time."""
    tries = _tries.get()
    for attempt in range(1, tries + 1):
        try:
            return call()
        except Exception as error:
            wait = seconds_to_wait(error, attempt)
            if wait is None or attempt == tries:
                raise
            report.note(f"the Hub did not answer ({type(error).__name__}); trying again in {wait:.0f} s")
            time.sleep(wait)
    raise AssertionError("the loop returns or raises")


def seconds_to_wait(error: Exception, attempt: int) -> float | None:
    """Return how long to wait before another try, or None where trying again cannot help."""
    for cause in causes(error):
        response: Any = getattr(cause, "response", None)  # only HTTP errors carry one
        if response is None:
            if _is_dropped(cause):
                return _back_off(attempt)
            continue
        if response.status_code not in RETRIED:
            return None
        asked = str(response.headers.get("Retry-After", ""))
        return min(float(asked), LONGEST_ASKED_WAIT) if asked.isdigit() else _back_off(attempt)
    return None


def _back_off(attempt: int) -> float:
    # Not all clients at the same moment again.
    wait: float = min(0.5 * 2.0**attempt, LONGEST_BACK_OFF)
    return wait * random.uniform(0.5, 1.0)


def _is_dropped(error: BaseException) -> bool:
    from huggingface_hub import errors

    return is_unreachable(error) and not isinstance(error, errors.OfflineModeIsEnabled)


def _create_repo(api: HfApi, upload: Upload) -> None:
    sdk = "gradio" if upload.kind == "space" else None
    api.create_repo(upload.repo, repo_type=upload.kind, private=not upload.public, exist_ok=True, space_sdk=sdk)


def _pull_request(api: HfApi, upload: Upload) -> int:
    """Return our open pull request of this title, or make one.

    The Hub makes another one each time it is asked. Where an answer was lost it is there already; and one that
    an earlier push opened is brought up to date, as a branch is, instead of having a second beside it.
    """
    author = api.whoami()["name"]
    for found in api.get_repo_discussions(upload.repo, repo_type=upload.kind):
        is_ours = found.is_pull_request and found.author == author and found.title == upload.message
        if is_ours and found.status in ("open", "draft"):
            return int(found.num)
    made = api.create_pull_request(upload.repo, title=upload.message, repo_type=upload.kind)
    return int(made.num)


def _open_draft(api: HfApi, upload: Upload, number: int) -> None:
    """Show a pull request to everyone; it is a draft until there is something in it."""
    details = api.get_discussion_details(upload.repo, number, repo_type=upload.kind)
    if details.status == "draft":
        api.change_discussion_status(upload.repo, number, "open", repo_type=upload.kind)


def _commit(api: HfApi, upload: Upload, pull_request: int | None) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    # Made anew for every try: the client keeps on the operation what it believes was already sent.
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
        for name, content in upload.files
    ]
    revision = f"refs/pr/{pull_request}" if pull_request else None
    there = api.list_repo_files(upload.repo, repo_type=upload.kind, revision=revision)
    operations += [CommitOperationDelete(name) for name in left_over(upload, there)]
    commit = api.create_commit(
        upload.repo, operations, commit_message=upload.message, repo_type=upload.kind, revision=revision
    )
    return str(commit.oid)


def _digest(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    if not content.is_file():
        return "missing"
    with content.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
