"""Publishing: what a visitor's run would put on the Hub, and the attempt that puts it there."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from hfembed.compare.shelf import Shelf
from hfembed.errors import HubError, InputError, RunBusyError
from hfembed.hub.runs import who_am_i
from hfembed.pipeline import manifests
from hfembed.push import Facts, Preview, preview_push, propose_repos, run_facts
from hfembed.recipe import Recipe, Words, validate_recipe

from . import runs
from .runs import VisitorRun
from .visitors import Visitor

# Runs whose facts are kept while somebody writes on their cards.
MOST = 4
NOBODY = "you"
NO_ACCOUNT = "Sign in with Hugging Face first: the repos are yours."
NOT_LOGGED_IN = "Nobody is logged in to the Hub on this machine: hf auth login"

_facts: Shelf[Facts] = Shelf(MOST)
_pushing = threading.Lock()


@dataclass(frozen=True)
class Wish:
    """What a visitor wants to be published, as the form holds it; the last fields are those of the recipe's `words`."""

    model_repo: str
    dataset_repo: str
    public: bool
    pull_request: bool
    title: str
    summary: str
    intended_use: str
    limitations: str
    contact: str
    dataset_summary: str

    def words(self) -> dict[str, str | None]:
        """Return what stands on the cards beside what the run tells."""
        return {name: getattr(self, name).strip() or None for name in Words.model_fields}

    @classmethod
    def read(cls, values: tuple[Any, ...]) -> Wish:
        """Return what the components of the form hold, in the order of the fields above."""
        model, dataset, public, pull_request, *rest = values
        words = {name: str(value or "") for name, value in zip(Words.model_fields, rest, strict=True)}
        return cls(str(model or ""), str(dataset or ""), bool(public), bool(pull_request), **words)


def publishable(visitor: Visitor) -> list[VisitorRun]:
    """Return the visitor's runs that have a model and a report here, newest first; also where a push failed."""
    return [one for one in runs.runs_here(visitor) if one.has_model and "evaluate" in manifests(one.run)]


def first_wish(visitor: Visitor, one: VisitorRun) -> Wish:
    """Return what the form begins with: what the recipe says, else names after the corpus."""
    recipe = one.run.recipe()
    base = str(manifests(one.run)["train"].sources["base"]["name"])
    model, dataset = propose_repos(owner_of(visitor) or NOBODY, recipe.corpus, base)
    push = recipe.push
    names = (push.model_repo, push.dataset_repo) if push.model_repo or push.dataset_repo else (model, dataset)
    words = {name: value or "" for name, value in push.words.model_dump().items()}
    return Wish(names[0] or "", names[1] or "", push.public, push.pull_request, **words)


def owner_of(visitor: Visitor) -> str | None:
    """Return the name that the visitor's repos stand under; nothing where nobody is signed in, or the Hub is silent."""
    if visitor.name or not visitor.has_account:
        return visitor.name
    with visitor.acting():
        try:
            return who_am_i().name
        except HubError:
            return None


def no_account(visitor: Visitor) -> str:
    """Return why a visitor cannot publish, if so."""
    if visitor.has_account:
        return ""
    return NOT_LOGGED_IN if visitor.is_owner else NO_ACCOUNT


def facts_of(visitor: Visitor, one: VisitorRun) -> Facts:
    """Return what the cards say of a run; read once, since that takes a while for a large corpus."""
    done = manifests(one.run)
    key = (str(one.folder), visitor.name, done["evaluate"].output + (done["export"].output if "export" in done else ""))

    def read() -> Facts:
        with visitor.acting():
            found = run_facts(one.run, ask_hub=True)
        _ = found.texts, found.changes  # the part that takes long
        return found

    return _facts.get(key, read)


def recipe_of(one: VisitorRun, wish: Wish) -> Recipe:
    """Return the run's recipe as it says what is wished; wrong values are answered in the words of the recipe."""
    values = one.run.recipe().model_dump(mode="json")
    repos = {"model_repo": wish.model_repo.strip() or None, "dataset_repo": wish.dataset_repo.strip() or None}
    values["push"] |= {**repos, "public": wish.public, "pull_request": wish.pull_request, "words": wish.words()}
    return validate_recipe(values, "form")


def look(visitor: Visitor, one: VisitorRun, wish: Wish) -> Preview:
    """Return what a push would write and change; the repos are looked at where the visitor has an account."""
    facts = facts_of(visitor, one).under(recipe_of(one, wish))
    with visitor.acting():
        return preview_push(facts, ask_hub=visitor.has_account)


def push(visitor: Visitor, one: VisitorRun, wish: Wish) -> VisitorRun:
    """Publish, as a further attempt of the run, which goes on when the page is closed.

    Everything is looked at first, so that what the Hub would refuse is refused before anything is started.
    """
    if reason := no_account(visitor):
        raise InputError(reason)
    if not wish.model_repo.strip() and not wish.dataset_repo.strip():
        raise InputError("No repo to push to is named.", "Name one for the model, for the data, or for both.")
    with _pushing:
        if not runs.status(visitor, one).is_over:
            raise RunBusyError("The run is still under way.", "Wait for it, or cancel it on the Runs page.")
        look(visitor, one, wish)
        return runs.go_on(visitor, one, recipe_of(one, wish), until="push")
