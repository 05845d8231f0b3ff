"""What programs and assistants may ask for: search, compare, launch, status and runs, over HTTP and MCP.

The pages use the same functions. Names, hints and docstrings here are what a program or an assistant is shown.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any

import gradio as gr

from hfembed.corpus import SAMPLE
from hfembed.errors import InputError
from hfembed.launch.send import Plan
from hfembed.recipe import DEFAULT_PRESET
from hfembed.summary import summarize

from . import build_launch
from . import runs as launched
from . import search as searching
from .callers import NEEDS_ACCOUNT, caller_of, known_caller
from .form import OTHER, CorpusChoice, Form, Visibility, base_label, check_form
from .page import plain_words
from .settings import read_settings
from .visitors import Visitor

MOST_PASSAGES = 100
AT_ONCE = 4
# For how long an estimate may be agreed to, and what makes sure that it was ours.
AGREE_SECONDS = 15 * 60
_secret = secrets.token_bytes(32)


def add_api() -> None:
    """Open these functions to programs; the handlers of the pages stay private."""
    groups: dict[str, list[Callable[..., Any]]] = {"search": [search, compare], "runs": [launch, status, runs]}
    for name, functions in groups.items():
        for function in functions:
            gr.api(function, concurrency_limit=AT_ONCE, concurrency_id=f"api-{name}")


def can_speak_mcp() -> bool:
    """Tell whether assistants can be served."""
    return find_spec("mcp") is not None


def search(
    query: str, model: str = "base", corpus: str = SAMPLE, count: int = 10, request: gr.Request | None = None
) -> dict[str, Any]:
    """Search a corpus with one model and return the best passages.

    Args:
        query: What to search for, in plain words.
        model: "base", "tuned" (your newest run's model), "tuned:RUN" (the model of one of your runs), "bm25" (words alone), "hybrid", "index" (its model, where the corpus is an index), "index:ORG/NAME", or the id of a sentence-transformers model of the Hub, org/name.
        corpus: "sample", "run:RUN" (the documents of one of your runs), or a dataset or an index of the Hub, org/name. Without a token only the sample.
        count: How many passages, 1 to 100.

    Returns:
        The model, how long it took in milliseconds, and the passages: rank, id, title, text and score.
    """
    with plain_words():
        visitor = _reader(request, corpus)
        return asdict(searching.search(visitor, model, corpus, query, _between(count)))


def compare(
    query: str,
    models: list[str] = ["base", "bm25"],  # noqa: B006 - shown to programs as the default
    corpus: str = SAMPLE,
    count: int = 5,
    request: gr.Request | None = None,
) -> dict[str, Any]:
    """Search a corpus with two to four models and return their passages side by side.

    Args:
        query: What to search for, in plain words.
        models: Up to four of what `search` takes as a model; the first is what the others are measured against.
        corpus: "sample", "run:RUN" (the documents of one of your runs), or a dataset or an index of the Hub, org/name. Without a token only the sample.
        count: How many passages of each model, 1 to 100.

    Returns:
        One ranking for each model, with how many places each passage rose against the first model; and, where they are known, the documents that answer the query with their places under each model.
    """
    with plain_words():
        visitor = _reader(request, corpus)
        return searching.compare(visitor, models, corpus, query, _between(count)).to_json()


def launch(
    corpus: str = SAMPLE,
    preset: str = DEFAULT_PRESET,
    base: str = "",
    on: str = "local",
    model_repo: str = "",
    dataset_repo: str = "",
    public: bool = False,
    max_cost: float | None = None,
    confirmation: str = "",
    request: gr.Request | None = None,
) -> dict[str, Any]:
    """Train a model on a corpus. The first call only answers with time, cost and a confirmation; the second, with that, starts it.

    Args:
        corpus: "sample", or a dataset of the Hub, org/name[:config].
        preset: How to train; "instant" takes minutes on a CPU, "thorough" longer and gains more.
        base: The model to start from, as org/name of the Hub; empty takes the default.
        on: Where: "local" (this machine), "jobs:FLAVOR", "space:FLAVOR" or "autotrain"; all but the first cost money.
        model_repo: Publish the model there at the end, org/name; empty publishes nothing.
        dataset_repo: Publish the training data there too, org/name.
        public: Make the repos public; private otherwise.
        max_cost: The most it may cost, in dollars.
        confirmation: What the first call answered with; ask the person who pays before you send it.

    Returns:
        First the estimate: seconds, dollars, dollars at most, and the confirmation. Then the run: its id, for `status`.
    """
    with plain_words():
        visitor, settings = known_caller(request), read_settings()
        place, _, flavor = on.partition(":")
        form = Form(
            choice=CorpusChoice.SAMPLE if corpus == SAMPLE else CorpusChoice.HUB,
            dataset="" if corpus == SAMPLE else corpus,
            preset=preset,
            place=place,
            flavor=flavor,
            max_cost="" if max_cost is None else f"{max_cost:g}",
            visibility=_visibility(model_repo or dataset_repo, public),
            model_repo=model_repo,
            dataset_repo=dataset_repo,
        )
        if base:
            offered = base in [base_label(name) for name in settings.bases]
            form = replace(form, base=base) if offered else replace(form, base=OTHER, other_base=base)
        check_form(form, settings)
        found = build_launch.find_price(visitor, form, settings)
        if not confirmation:
            return _estimate(visitor, form, found)
        _check(confirmation, visitor, form, found)
        one = build_launch.launch(visitor, form, settings, found.worst)
        return {"launched": True, "run": one.id, "name": one.launch.name, "next": f"status(run='{one.id}')"}


def status(run: str, request: gr.Request | None = None) -> dict[str, Any]:
    """Tell how one of your runs stands: its stages, and at the end the scores, the verdict and what was published.

    Args:
        run: The run's id, as `launch` and `runs` tell it.
    """
    with plain_words():
        visitor = known_caller(request)
        one = launched.find_run(visitor, run)
        return {**_line(visitor, one), **_result(visitor, one)}


def runs(request: gr.Request | None = None) -> list[dict[str, Any]]:
    """List your runs, newest first, with how each stands."""
    with plain_words():
        visitor = known_caller(request)
        return [_line(visitor, one) for one in launched.runs_of(visitor)]


def _reader(request: gr.Request | None, corpus: str) -> Visitor:
    """Return who calls; nobody in particular reads the sample alone."""
    visitor = caller_of(request)
    if corpus != SAMPLE and not (visitor.is_owner or visitor.name):
        raise InputError(*NEEDS_ACCOUNT)
    return visitor


def _between(count: int) -> int:
    if not isinstance(count, int) or not 1 <= count <= MOST_PASSAGES:
        raise InputError(f"count is {count!r}; it is a whole number from 1 to {MOST_PASSAGES}.")
    return count


def _visibility(publishes: str, public: bool) -> Visibility:
    if not publishes:
        return Visibility.NOBODY
    return Visibility.PUBLIC if public else Visibility.PRIVATE


def _estimate(visitor: Visitor, form: Form, found: Plan) -> dict[str, Any]:
    expected = found.chosen.expected
    return {
        "launched": False,
        "on": found.place.launcher.value,
        "hardware": found.chosen.hardware.name,
        "seconds": round(expected.seconds),
        "seconds_at_most": found.order.seconds or round(expected.high),
        "dollars": expected.dollars or 0.0,
        "dollars_at_most": round(found.worst, 2),
        "publishes": found.order.publishes,
        "confirmation": _agreement(int(time.time()) + AGREE_SECONDS, visitor, form, found),
        "next": "Ask whoever pays; then call launch with the same arguments and this confirmation.",
    }


def _agreement(until: int, visitor: Visitor, form: Form, found: Plan) -> str:
    """Return what only this process can make: who agreed to what, for how much, and until when that counts."""
    price = [found.chosen.hardware.name, f"{found.worst:.2f}"]
    said = json.dumps([until, visitor.folder.name, asdict(form), price], default=str)
    return f"{until}-{hmac.new(_secret, said.encode(), hashlib.sha256).hexdigest()[:24]}"


def _check(confirmation: str, visitor: Visitor, form: Form, found: Plan) -> None:
    until = confirmation.partition("-")[0]
    expected = _agreement(int(until), visitor, form, found) if until.isascii() and until.isdigit() else ""
    if not hmac.compare_digest(expected.encode(), confirmation.encode()) or int(until) < time.time():
        raise InputError(
            "This confirmation does not fit: the arguments or the price differ, or it is too old.",
            "Call launch without it for a new estimate.",
        )


def _line(visitor: Visitor, one: launched.VisitorRun) -> dict[str, Any]:
    last = one.launch.attempt
    return {
        "run": one.id,
        "name": one.launch.name,
        "status": launched.status(visitor, one).value,
        "on": last.launcher.value,
        "hardware": last.flavor,
        "submitted": last.submitted,
    }


def _result(visitor: Visitor, one: launched.VisitorRun) -> dict[str, Any]:
    """Return what a run has made, as far as that is here: nothing of where it stands on this machine."""
    outcome = launched.outcome(visitor, one)
    told: dict[str, Any] = {"error": outcome.error if outcome else None}
    if one.here is None:
        published: Sequence[dict[str, Any]] = outcome.published if outcome else []
        return {**told, "verdict": outcome.verdict if outcome else None, "published": list(published)}
    summary = summarize(one.here)
    stages = [{"name": stage["name"], "seconds": stage["seconds"]} for stage in summary["stages"]]
    kept = {name: summary[name] for name in ("working", "verdict", "report", "published")}
    return {**told, "stages": stages, **kept}
