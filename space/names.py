"""Names: what the repos of a run are to be called, and whether whoever asks may write there."""

from __future__ import annotations

import re
from collections.abc import Callable

from hfembed.corpus import SAMPLE
from hfembed.errors import InputError, choices
from hfembed.hub.runs import Account
from hfembed.push import propose_repos

from .form import CorpusChoice, Form, Visibility
from .uploads import folder_name

REPO_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def propose(owner: str, form: Form, base: str) -> tuple[str, str]:
    """Return names for the model and the dataset of a run, out of whose it is, its documents and its base."""
    return propose_repos(owner, _corpus(form), base)


def check_names(form: Form, account: Account, taken: Callable[[str, str], bool | None]) -> list[str]:
    """Return a sentence on each repo that the run would write to, as far as `taken` knows of it.

    Raises InputError for a name that the Hub would refuse, or that belongs to somebody else.
    """
    told = [_check(repo, kind, form, account, taken) for kind, repo in _repos(form).items()]
    return [sentence for sentence in told if sentence]


def _check(repo: str, kind: str, form: Form, account: Account, taken: Callable[[str, str], bool | None]) -> str:
    if not REPO_NAME.fullmatch(repo):
        raise InputError(f"'{repo}' is no name of a {kind} repo.", "It reads org/name.")
    owner = repo.partition("/")[0]
    mine = (account.name, *account.organisations)
    if owner not in mine:
        raise InputError(f"{account.name} cannot publish as '{owner}'; allowed: {choices(mine)}.", "Change the name.")
    is_there = taken(repo, kind)
    if is_there is None:
        return ""
    if is_there:
        return f"{repo} is yours already: it gets a new version, and stays as visible as it is."
    who = "everybody can see it" if form.visibility == Visibility.PUBLIC else "only you can see it"
    return f"{repo} is free: it will be made, and {who}."


def _repos(form: Form) -> dict[str, str]:
    named = {"model": form.model_repo, "dataset": form.dataset_repo}
    return {kind: repo for kind, repo in named.items() if repo}


def _corpus(form: Form) -> str:
    if form.choice == CorpusChoice.UPLOAD and form.files:
        return folder_name(form.files)
    if form.choice == CorpusChoice.HUB:
        return form.source
    return SAMPLE
