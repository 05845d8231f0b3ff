"""Memo: what the Build page of one browser has found out so far, so that it is not asked for again at every letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hfembed.errors import HfembedError, HubError, InputError
from hfembed.hub.runs import Account, who_am_i
from hfembed.hub.search import ModelFacts, is_taken, look_up_model
from hfembed.launch.record import LauncherName

from .form import OTHER, Form, Visibility, base_of, check_form
from .names import check_names, propose
from .settings import Settings
from .study import Study, base_name, is_current, quote_place
from .view_places import why_not, why_not_there
from .visitors import Visitor

Looked = ModelFacts | HfembedError


@dataclass(frozen=True)
class Memo:
    """What is known. proposed: the names that stand in the form unless somebody wrote others. taken: by kind and name.

    trouble: why the Hub does not say who is signed in.
    """

    study: Study = field(default_factory=Study)
    account: Account | None = None
    proposed: tuple[str, str] = ("", "")
    models: Mapping[str, Looked] = field(default_factory=dict)
    taken: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    trouble: HubError | None = None


def settle(visitor: Visitor, form: Form, memo: Memo, settings: Settings) -> tuple[Form, Memo]:
    """Return the form with what follows from the rest of it: names to publish under, the machine, where one may run."""
    if visitor.has_account and memo.account is None:
        memo = _with_account(visitor, memo)
        # Whoever has an account most likely wants to keep the result there.
        form = replace(form, visibility=Visibility.PRIVATE if memo.account else Visibility.NOBODY)
    if not visitor.has_account:
        form = replace(form, visibility=Visibility.NOBODY)
    if why_not_there(LauncherName(form.place), visitor, settings):
        form = replace(form, place=LauncherName.LOCAL)
    if memo.account and form.publishes:
        names = propose(memo.account.name, form, base_name(form, settings))
        kept = (form.model_repo, form.dataset_repo)
        model, dataset = (
            new if written in ("", old) else written
            for new, old, written in zip(names, memo.proposed, kept, strict=True)
        )
        form, memo = replace(form, model_repo=model, dataset_repo=dataset), replace(memo, proposed=names)
    return _with_machine(form, memo, settings), memo


def _with_account(visitor: Visitor, memo: Memo) -> Memo:
    try:
        with visitor.acting():
            return replace(memo, account=who_am_i(), trouble=None)
    except HubError as error:
        return replace(memo, trouble=error)


def _with_machine(form: Form, memo: Memo, settings: Settings) -> Form:
    found = quote_place(memo.study, form, settings, LauncherName(form.place)) if form.is_elsewhere else None
    if found is None or (found.of(form.flavor or None) is not None and form.flavor):
        return form
    return replace(form, flavor=found.best.hardware.name if found.best else "")


def ask(visitor: Visitor, form: Form, memo: Memo, settings: Settings) -> Memo:
    """Ask the Hub what the form needs to be checked: whether a base model is there, whether names are free."""
    with visitor.acting():
        if form.base == OTHER and form.other_base and form.other_base not in memo.models:
            memo = replace(memo, models={**memo.models, form.other_base: _look_up(form, settings)})
        if form.publishes and memo.account:
            for kind, repo in (("model", form.model_repo), ("dataset", form.dataset_repo)):
                if (kind, repo) not in memo.taken and repo.partition("/")[0] in _owners(memo.account):
                    memo = replace(memo, taken={**memo.taken, (kind, repo): is_taken(repo, kind)})
    return memo


def check(visitor: Visitor, form: Form, memo: Memo, settings: Settings) -> list[str]:
    """Refuse a form that cannot be launched; return what is to be said of the names that it publishes under."""
    check_form(form, settings)
    if memo.study.error and is_current(memo.study, form):
        raise memo.study.error
    for refusal in (
        why_not(form.preset, visitor, settings),
        why_not_there(LauncherName(form.place), visitor, settings),
    ):
        if refusal:
            raise InputError(refusal)
    looked = memo.models.get(form.other_base) if form.base == OTHER else None
    if isinstance(looked, HfembedError):
        raise looked
    if not is_current(memo.study, form) or memo.study.found is None:
        raise InputError("The documents have not been looked at yet.", "Press Enter after a name that you typed.")
    found = quote_place(memo.study, form, settings, LauncherName(form.place))
    if found and found.refusal:
        raise InputError(found.refusal)
    if not form.publishes:
        return []
    if memo.account is None:
        raise memo.trouble or InputError(
            "Nobody is signed in, and a model can only be published by someone.", "Sign in first."
        )
    return check_names(form, memo.account, lambda repo, kind: memo.taken.get((kind, repo)))


def _look_up(form: Form, settings: Settings) -> Looked:
    try:
        return look_up_model(base_of(form, settings))
    except HfembedError as error:
        return error


def _owners(account: Account) -> tuple[str, ...]:
    return account.name, *account.organisations
