"""What the Build page shows for a form: every part by its name, as an update of Gradio's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from hfembed.errors import HfembedError
from hfembed.hub.search import ModelFacts
from hfembed.launch.contract import Offer
from hfembed.launch.record import LauncherName
from hfembed.recipe import load_presets

from .cards import cards_html, choose_card
from .form import FIELDS, OTHER, CorpusChoice, Form, Visibility, base_of, in_one_line
from .html import empty_box, error_of, reason_line, tag, text
from .memo import Memo, check
from .page import shown
from .settings import Settings
from .study import Study, is_current, quote_local, quote_place
from .view_places import base_cards, corpus_cards, machine_choices, place_cards, preset_cards
from .view_preview import preview_html, working_box
from .view_summary import summary_html
from .visitors import Visitor

Shown = dict[str, Any]
GUESSED = "found by itself"
CARDS = ("choice", "base", "preset", "place")
CHOICES = ("config", "split", "text", "title", "id", "flavor")
ABOUT_SPACE_RUNS = "Signed in, you can publish the model, run elsewhere, and find your runs again from any browser."
VISIBILITIES = [
    ("Do not publish yet", Visibility.NOBODY.value),
    ("Publish, for my eyes only", Visibility.PRIVATE.value),
    ("Publish for everybody", Visibility.PUBLIC.value),
]


def show_all(visitor: Visitor, form: Form, memo: Memo, settings: Settings, asked: Any) -> Shown:
    """Return everything that follows from the form and from what is known so far."""
    return {
        "memo": memo,
        **_fields(form),
        **show_documents(form, memo.study),
        **show_choices(visitor, form, memo, settings),
        **show_reason(visitor, form, memo, settings, asked),
    }


def show_documents(form: Form, study: Study) -> Shown:
    """Return the fields that belong to the kind of corpus, and the preview."""
    columns = study.sample.tally.columns if study.sample else None
    is_table = (
        form.choice != CorpusChoice.SAMPLE and len(study.names) > 1 and set(study.names) != {"id", "title", "text"}
    )
    truncated = bool(study.found and study.found.facts["truncated_share"])
    return {
        "files": gr.File(visible=shown(form.choice == CorpusChoice.UPLOAD)),
        "hub": gr.Group(visible=shown(form.choice == CorpusChoice.HUB)),
        "config": _part(form.config, study.parts.configs, study.parts.config),
        "split": _part(form.split, study.parts.splits, study.parts.split),
        "text": _column(form.text, study, columns.text if columns else None, is_table),
        "title": _column(form.title, study, columns.title if columns else None, is_table),
        "id": _column(form.id, study, columns.id if columns else None, is_table),
        "chunk": gr.Checkbox(visible=shown(truncated or form.chunk)),
        "preview": _preview(form, study),
    }


def show_choices(visitor: Visitor, form: Form, memo: Memo, settings: Settings) -> Shown:
    """Return the cards with the time and the money of each choice, and the summary."""
    presets = {name: quote_local(memo.study, name, settings, form.until) for name in load_presets()}
    places = {name: quote_place(memo.study, form, settings, name) for name in LauncherName}
    there = places[LauncherName(form.place)]
    corpora, bases = corpus_cards(), base_cards(settings)
    return {
        "choice": choose_card(form.choice, cards_html("corpus", "Where are your documents?", corpora, form.choice)),
        "base": choose_card(form.base, cards_html("base", "Which model do you start from?", bases, form.base)),
        "other_base": gr.Textbox(visible=shown(form.base == OTHER)),
        "base_note": _base_note(form, memo),
        "preset": choose_card(
            form.preset,
            cards_html("preset", "How is it trained?", preset_cards(visitor, settings, presets), form.preset),
        ),
        "place": choose_card(
            form.place,
            cards_html("place", "Where does it run?", place_cards(visitor, settings, places), form.place),
        ),
        "flavor": gr.Dropdown(
            choices=machine_choices(there) if form.is_elsewhere and there else [("", "")],
            value=form.flavor if form.is_elsewhere else "",
            visible=shown(form.is_elsewhere),
        ),
        "max_cost": gr.Textbox(visible=shown(form.is_elsewhere)),
        "visibility": gr.Radio(
            value=form.visibility,
            interactive=visitor.has_account,
            info=None if visitor.has_account else ABOUT_SPACE_RUNS,
        ),
        "repos": gr.Group(visible=shown(form.publishes)),
        "summary": show_summary(form, settings, there.of(form.flavor or None) if there else None),
    }


def show_reason(visitor: Visitor, form: Form, memo: Memo, settings: Settings, asked: Any) -> Shown:
    """Return whether Launch can be pressed, and beside it why not.

    asked: what was asked about money; the question is taken back when the form is another by now.
    """
    told: list[str] = []
    try:
        told = check(visitor, form, memo, settings)
        words = ""
    except HfembedError as error:
        words = in_one_line(error)
    notes = "".join(tag("p", text(sentence), class_="hf-meta") for sentence in told)
    found = {"reason": reason_line(words), "names_note": notes}
    if asked and asked["values"] == repr(form):
        return found
    launch = gr.Button("Launch", visible=True, interactive=not words)
    return {**found, "launch": launch, "question": "", "asked": "", "confirm": gr.Row(visible=shown(False))}


def show_waiting(form: Form, words: str) -> Shown:
    """Return what is shown while the documents are looked at."""
    return {
        "files": gr.File(visible=shown(form.choice == CorpusChoice.UPLOAD)),
        "hub": gr.Group(visible=shown(form.choice == CorpusChoice.HUB)),
        "preview": working_box(words),
        "launch": gr.Button(interactive=False),
        "reason": reason_line("The documents are being looked at."),
    }


def show_summary(form: Form, settings: Settings, found: Offer | None) -> str:
    """Return the summary beside the form."""
    try:
        base = form.base if form.base != OTHER else base_of(form, settings)
    except HfembedError:
        base = ""
    return summary_html(form, base, found, is_local=settings.is_local)


def form_updates(form: Form) -> list[Any]:
    """Return an update of every field, in the order of FIELDS."""
    updates: dict[str, Any] = {name: getattr(form, name) for name in FIELDS}
    updates |= {name: choose_card(updates[name]) for name in CARDS}
    # A value that is not among the choices is refused, so each brings its own until the page is shown anew.
    updates |= {name: gr.Dropdown(choices=[(updates[name], updates[name])], value=updates[name]) for name in CHOICES}
    updates["files"] = [str(file) for file in form.files] or None
    return [updates[name] for name in FIELDS]


def _fields(form: Form) -> Shown:
    """Return what may follow from other fields."""
    return {"model_repo": form.model_repo, "dataset_repo": form.dataset_repo}


def _part(chosen: str, names: Sequence[str], usual: str | None) -> gr.Dropdown:
    """Return the choice of a config or a split; what is read without a choice has no name of its own."""
    unnamed = GUESSED if chosen else f"{usual} ({GUESSED})" if usual else "choose one"
    choices = [(unnamed, ""), *((name, name) for name in names)]
    return gr.Dropdown(choices=choices, value=chosen if chosen in names else "", visible=shown(len(names) > 1))


def _column(chosen: str, study: Study, guess: str | None, is_table: bool) -> gr.Dropdown:
    choices = [(f"{guess or 'none'} ({GUESSED})" if not chosen else GUESSED, "")]
    choices += [(name, name) for name in study.names]
    value = chosen if chosen in study.names else ""
    return gr.Dropdown(choices=choices, value=value, visible=shown(is_table))


def _preview(form: Form, study: Study) -> str:
    if not is_current(study, form):
        return empty_box("Your documents", "Their first lines, languages and lengths are shown here.")
    if study.error and not (study.found and not form.files):
        is_begun = form.files or form.dataset
        waiting = empty_box("Your documents", in_one_line(study.error))
        return error_of(study.error) if is_begun or form.choice == CorpusChoice.SAMPLE else waiting
    if study.found is None:
        return working_box("Looking at the documents")
    whole = study.load.size.documents if study.load else None
    return preview_html(study.found, whole)


def _base_note(form: Form, memo: Memo) -> str:
    looked = memo.models.get(form.other_base) if form.base == OTHER else None
    if not isinstance(looked, ModelFacts):
        return error_of(looked) if isinstance(looked, HfembedError) else ""
    size = f"{looked.parameters / 1e6:,.0f} M parameters" if looked.parameters else ""
    facts = [looked.repo, size, ", ".join(looked.languages[:6]), looked.licence or "no licence is named"]
    return tag("p", text("Found: " + " · ".join(fact for fact in facts if fact)), class_="hf-meta")


def fresh(form: Form) -> Form:
    """Return the form for other documents: what was chosen of the last ones does not fit them."""
    return replace(form, config="", split="", text="", title="", id="", chunk=False)
