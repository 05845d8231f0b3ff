"""Find: a run that was sent somewhere, by its folder, its id, or the name of its repo."""

from __future__ import annotations

from pathlib import Path

from hfembed.errors import InputError, choices
from hfembed.events import Reporter
from hfembed.hub.runs import RunRepo, find_run_repos, who_am_i
from hfembed.launch.home import read_home
from hfembed.launch.record import REPO_PREFIX, Launch, read_link
from hfembed.run import Run


def find_launch(text: str, report: Reporter) -> tuple[Launch, Run | None]:
    """Return a launch by the folder it was sent from, by its id, or by the name of its repo."""
    run = Run(Path(text))
    link = read_link(run) if run.folder.is_dir() else None
    if link is not None:
        return (read_home(RunRepo(link.repo, report)) if link.repo else link), run
    if run.folder.is_dir():
        raise InputError(f"'{text}' was never sent anywhere.", f"hfembed status {text} shows what is done in it.")
    return read_home(RunRepo(_home_of(text), report)), None


def _home_of(text: str) -> str:
    owner, _, name = text.rpartition("/")
    account = who_am_i()
    owners = [owner] if owner else [account.name, *account.organisations]
    wanted = REPO_PREFIX + name.removeprefix(REPO_PREFIX)
    found = [repo for one in owners for repo in find_run_repos(one, wanted)]
    exact = [repo for repo in found if repo.partition("/")[2] == wanted] or found
    if len(exact) != 1:
        why = (
            f"is the beginning of {len(exact)} runs" if exact else f"is no folder here, and no run of {choices(owners)}"
        )
        raise InputError(f"'{text}' {why}.", "hfembed runs lists them.")
    return exact[0]
