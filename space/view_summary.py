"""The summary beside the form: what would be launched, for how long and for how much."""

from __future__ import annotations

from hfembed.launch.contract import Offer
from hfembed.launch.record import LauncherName
from hfembed.launch.send import Plan
from hfembed.terminal_launch import CENT, show_dollars

from .form import Form, Visibility, corpus_label
from .html import tag, text
from .view_places import PLACES, about, at_most, duration


def summary_html(form: Form, base: str, found: Offer | None, *, is_local: bool) -> str:
    """Return what a launch would do, take and cost."""
    told = {
        "Documents": corpus_label(form) if form.files or form.choice != "upload" else "",
        "Base model": base,
        "Preset": form.preset,
        "Runs on": _where(form, found, is_local),
        "Takes": _time(found),
        "Costs": _money(found),
        "Publishes": _repos(form),
    }
    pairs = (tag("div", tag("dt", text(key)), tag("dd", text(value or "not yet known"))) for key, value in told.items())
    return tag("section", tag("h3", "Your run"), tag("dl", *pairs), class_="hf-summary", aria_label="Your run")


def confirm_html(found: Plan) -> str:
    """Return the question that is asked before money is spent."""
    expected = found.chosen.expected
    seconds = found.order.seconds or 0
    words = (
        f"This runs on {found.chosen.hardware.title} on the account of {found.order.owner}: about "
        f"{duration(expected.seconds)} for {about_dollars(expected.dollars or 0)}. It is ended after "
        f"{duration(seconds)} at the latest, so it costs at most {show_dollars(found.worst)}."
    )
    return tag("div", tag("p", text(words)), class_="hf-confirm", role="alert")


def about_dollars(value: float) -> str:
    """Return a sum that is expected."""
    return ("about " if value >= CENT else "") + show_dollars(value)


def _where(form: Form, found: Offer | None, is_local: bool) -> str:
    title = PLACES[LauncherName(form.place)][0]
    if form.place == LauncherName.LOCAL:
        return "this machine" if is_local else "this Space"
    return f"{title}, {found.hardware.title}" if found else title


def _time(found: Offer | None) -> str:
    if found is None:
        return ""
    expected = found.expected
    low, high = duration(expected.low), duration(expected.high)
    return about(found) + (f", likely {low} to {high}" if low != high else "")


def _money(found: Offer | None) -> str:
    if found is None:
        return ""
    dollars = found.expected.dollars
    return f"{about_dollars(dollars)}, at most {at_most(found)}" if dollars else "nothing"


def _repos(form: Form) -> str:
    if not form.publishes:
        return "nothing yet"
    names = ", ".join(name for name in (form.model_repo, form.dataset_repo) if name)
    return f"{names} ({'for everybody' if form.visibility == Visibility.PUBLIC else 'private'})" if names else ""
