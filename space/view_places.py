"""What can be chosen, with the time and the money that each choice takes: base models, presets, places, machines."""

from __future__ import annotations

from collections.abc import Mapping

from hfembed.bases import load_bases
from hfembed.launch.contract import Offer
from hfembed.launch.quote import Quote, most_dollars
from hfembed.launch.record import LauncherName
from hfembed.recipe import load_presets, make_recipe
from hfembed.terminal_launch import show_dollars

from .cards import Card
from .form import OTHER, CorpusChoice, base_label
from .settings import Settings
from .visitors import Visitor

MINUTE, HOUR = 60.0, 3600.0
PLACES = {
    LauncherName.LOCAL: ("This Space", "Waits for its turn where others are working. Costs nothing."),
    LauncherName.JOBS: (
        "A job on Hugging Face",
        "A machine of your own, for as long as the run takes, on your account.",
    ),
    LauncherName.SPACE: (
        "A training Space",
        "The same in a private Space of yours, with a page that shows it; for accounts without jobs.",
    ),
    LauncherName.AUTOTRAIN: (
        "AutoTrain",
        "Only the training is done there. Best effort: AutoTrain has rested since January 2025.",
    ),
}


def corpus_cards() -> list[Card]:
    """Return where documents can come from."""
    return [
        Card(CorpusChoice.SAMPLE, "Sample corpus", "120 short technical notes: good for a first try."),
        Card(CorpusChoice.UPLOAD, "Upload files", "Texts, PDF, Word, web pages or tables of your own."),
        Card(CorpusChoice.HUB, "Hub dataset", "One that is on Hugging Face, found by its name."),
    ]


def base_cards(settings: Settings) -> list[Card]:
    """Return base models: the owner's, those that are suggested, and any other."""
    suggested = {one.name: one for one in load_bases()}
    cards = [
        Card(base_label(name), base_label(name), "Offered by whoever runs this page.")
        for name in settings.bases
        if name not in suggested
    ]
    for one in suggested.values():
        facts = (f"{one.parameters} M parameters", one.languages, f"reads {one.tokens:,} tokens", one.licence)
        cards.append(Card(one.name, one.name.partition("/")[2], one.about, facts=facts))
    return [*cards, Card(OTHER, "Another model", "Any sentence-transformers encoder on the Hub, by its name.")]


def preset_cards(visitor: Visitor, settings: Settings, quotes: Mapping[str, Quote | None]) -> list[Card]:
    """Return the presets: what each does, how long that takes here, and what it needs; those of papers behind ours."""
    cards, presets = [], load_presets()
    for name, preset in presets.items():
        refusal = why_not(name, visitor, settings)
        found = quotes.get(name)
        badge = about(found.best) if found and found.best and not refusal else ""
        facts = (f"needs {preset.needs}",)
        cards.append(Card(name, name, preset.description, f"{badge} here" if badge else "", facts, refusal))
    return sorted(cards, key=lambda card: (bool(card.refusal), presets[card.value].paper is not None))


def why_not(preset: str, visitor: Visitor, settings: Settings) -> str:
    """Return why a preset cannot be chosen here, or nothing where it can."""
    generate = make_recipe(preset, settings=settings.changes).generate
    asks_model = generate.asks_a_model()
    if not asks_model or generate.llm.endpoint or (visitor.is_owner and visitor.has_account):
        return ""
    return "Not here: no language model is set up for this page. On the command line: --preset " + preset


def place_cards(visitor: Visitor, settings: Settings, quotes: Mapping[LauncherName, Quote | None]) -> list[Card]:
    """Return where a run can go, how long it takes there and what that costs."""
    cards = []
    for name, (title, words) in PLACES.items():
        found = quotes.get(name)
        refusal = why_not_there(name, visitor, settings) or (found.refusal if found else "")
        if name is LauncherName.LOCAL and settings.is_local:
            title, words = "This machine", "A process of its own, which goes on when this page is closed."
        badge = price(found.best) if found and found.best else ""
        facts = (f"{found.best.hardware.name}, {_hourly(found.best)}",) if found and found.best and badge else ()
        cards.append(Card(name, title, words, badge, facts if name is not LauncherName.LOCAL else (), refusal))
    return cards


def why_not_there(place: LauncherName, visitor: Visitor, settings: Settings) -> str:
    """Return why a visitor cannot send a run to a place, or nothing where they can."""
    if place is LauncherName.LOCAL or visitor.has_account:
        return ""
    if settings.can_sign_in:
        return "Sign in with Hugging Face first, at the top of the page: it runs on your account."
    if settings.is_local:
        return "Needs an account of the Hub: hf auth login"
    return "Needs an account of the Hub, and nobody can sign in to this page."


def machine_choices(found: Quote) -> list[tuple[str, str]]:
    """Return the machines of a place, cheapest first, each with its price, its time and its cost."""
    fitting = [entry for entry in found.offers if not entry.refusal]
    fitting.sort(key=lambda entry: (entry.expected.dollars or 0.0, entry.expected.seconds))
    best = found.best.hardware.name if found.best else ""
    return [
        (
            f"{entry.hardware.title} ({entry.hardware.name}), {_hourly(entry)}: {price(entry)}"
            + (" - recommended" if entry.hardware.name == best else ""),
            entry.hardware.name,
        )
        for entry in fitting
    ]


def price(found: Offer) -> str:
    """Return the time and the money that a run takes on a machine."""
    dollars = found.expected.dollars
    return about(found) + (", free" if not dollars else f", {show_dollars(dollars)}")


def at_most(found: Offer) -> str:
    """Return the most that a machine can cost."""
    return show_dollars(most_dollars(found))


def about(found: Offer) -> str:
    """Return how long a run takes, as people say it."""
    return f"about {duration(found.expected.seconds)}"


def duration(seconds: float) -> str:
    """Return a duration in one unit."""
    if seconds < MINUTE:
        return f"{max(10, round(seconds / 10) * 10)} seconds"
    if seconds < HOUR:
        minutes = round(seconds / MINUTE)
        return f"{minutes} minute{'s' * (minutes != 1)}"
    return f"{seconds / HOUR:.1f} hours"


def _hourly(found: Offer) -> str:
    hourly = found.hardware.hourly
    return f"${hourly:.2f} an hour" if hourly else "free"
