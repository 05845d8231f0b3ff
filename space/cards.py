"""Cards: a choice among a few things that need a sentence each; radio buttons, so that keys and readers know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from .html import tag, text

# Gradio calls `change` for what a handler sets too; `input` is the visitor alone.
SCRIPT = """
const sync = () => element.querySelectorAll('input[type=radio]').forEach(one => {
  one.checked = one.value === props.value;
});
element.addEventListener('change', event => {
  if (event.target.type === 'radio') { props.value = event.target.value; sync(); trigger('input'); }
});
watch(['value', 'markup'], sync);
sync();
"""


@dataclass(frozen=True)
class Card:
    """One thing to choose. badge: the one figure that matters; refusal: why it cannot be chosen, if so."""

    value: str
    title: str
    words: str
    badge: str = ""
    facts: Sequence[str] = ()
    refusal: str = ""


def make_cards(value: str, markup: str, elem_id: str) -> gr.HTML:
    """Return a choice among cards that cards_html has made; its value is that of the chosen one."""
    # The template is read as a JavaScript template: only a variable of it is safe from what it holds.
    return gr.HTML(
        value, html_template="${markup}", js_on_load=SCRIPT, apply_default_css=False, markup=markup, elem_id=elem_id
    )


def choose_card(value: str, markup: str | None = None) -> gr.HTML:
    """Return an update of such a choice: another card, and where they are given, other cards."""
    return gr.HTML(value=value) if markup is None else gr.HTML(value=value, markup=markup)


def cards_html(name: str, legend: str, cards: Sequence[Card], chosen: str) -> str:
    """Return a group of cards; `name` tells it from the other groups of the page."""
    inner = "".join(_card(name, card, card.value == chosen) for card in cards)
    return tag("fieldset", tag("legend", text(legend)), tag("div", inner, class_="hf-card-row"), class_="hf-cards")


def _card(name: str, card: Card, is_chosen: bool) -> str:
    box = {"type": "radio", "name_": f"hf-{name}", "value": card.value}
    if is_chosen:
        box["checked"] = "checked"
    if card.refusal:
        box["disabled"] = "disabled"
    head = tag("b", text(card.title)) + (tag("span", text(card.badge), class_="hf-card-badge") if card.badge else "")
    parts = [tag("span", head, class_="hf-card-head"), tag("span", text(card.words), class_="hf-card-words")]
    if card.facts:
        facts = "".join(tag("span", text(fact)) for fact in card.facts if fact)
        parts.append(tag("span", facts, class_="hf-card-facts"))
    if card.refusal:
        parts.append(tag("span", text(card.refusal), class_="hf-card-refusal"))
    return tag("label", tag("input", **box), tag("span", *parts), class_="hf-card" + " hf-off" * bool(card.refusal))
