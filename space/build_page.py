"""The Build page: from documents to a run that is under way, in five steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from hfembed.recipe import DEFAULT_PRESET

from .build_handlers import confirm_launch, duplicate, glance, launch_or_ask, refresh, show, show_queries, take_back
from .build_show import VISIBILITIES, Shown
from .cards import cards_html, make_cards
from .find_dataset import SCRIPT, forget, search
from .form import FIELDS, CorpusChoice, Visibility, base_label
from .html import reason_line, tag, text
from .latest import Latest
from .memo import Memo
from .page import HIDDEN, PRIVATE, Page, Session
from .settings import Settings, read_settings
from .uploads import ALLOWED
from .view_places import base_cards, corpus_cards, place_cards, preset_cards
from .visitors import Visitor

# What is left of a form when other documents are named: the config, the columns and the like were those of the last.
OF_DOCUMENTS = ("config", "split", "text", "title", "id", "chunk")
COLUMNS = ("config", "split", "text", "title", "id")
CHOSEN = ("base", "preset", "place", "flavor", "visibility", "chunk", *COLUMNS)
TYPED = ("dataset", "other_base", "max_cost", "model_repo", "dataset_repo")
# What only the newest look at the form may say; of those that look at everything, only the newest says anything.
WHOLE = (show, refresh)
LOOKING = (*WHOLE, glance)
OF_THE_MOMENT = ("launch", "reason", "names_note", "question", "asked", "confirm")
BUSY = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 16}


_newest, _newest_whole = Latest(), Latest()


@dataclass(frozen=True)
class BuildPage(Page):
    """The page, and how another page fills its form: `duplicate(token, run, request)` gives `form_outputs`."""

    duplicate: Callable[..., Any] = duplicate
    form_outputs: list[Any] = field(default_factory=list)


class Parts(dict[str, Any]):
    """The components of the page by name: the fields of the form, and everything around them."""

    def form(self) -> list[Any]:
        """Return the fields in the order in which a form is read."""
        return [self[name] for name in FIELDS]

    def all(self) -> list[Any]:
        """Return every part."""
        return list(self.values())


def build_page(session: Session) -> BuildPage:
    """Lay out the page and wire it."""
    parts = Parts(memo=gr.State(Memo()), asked=gr.State(""))
    settings = read_settings()
    with gr.Row(equal_height=False, elem_id="build"):
        with gr.Column(scale=7, min_width=320):
            _documents(parts, settings)
            _model(parts, settings)
            _training(parts, settings)
            _place(parts, settings)
            _publishing(parts)
        with gr.Column(scale=4, min_width=300, elem_classes="hf-side"):
            _launching(parts)
    inputs = [session.token, parts["memo"], parts["asked"], *parts.form()]
    _wire(parts, session, inputs)
    _wire_launch(parts, session, inputs)
    return BuildPage("build", _named(parts, refresh), inputs, parts.all(), form_outputs=parts.form())


def _documents(parts: Parts, settings: Settings) -> None:
    _step(1, "Your documents", "What the model is to find. Nobody else sees them here.")
    parts["choice"] = _cards("corpus", "Where are your documents?", corpus_cards(), CorpusChoice.SAMPLE)
    parts["files"] = gr.File(
        label=f"Your documents ({' '.join(ALLOWED)})", file_count="multiple", file_types=list(ALLOWED), height=150,
        visible=HIDDEN, elem_id="files",
    )  # fmt: skip
    with gr.Group(visible=HIDDEN, elem_classes="hf-hub") as parts["hub"]:
        parts["dataset"] = gr.Textbox(
            label="Hub dataset", placeholder="org/name", max_length=200, elem_id="dataset", submit_btn="Look",
            info="Type a word to search; choose one below, or press Enter after a whole name",
        )  # fmt: skip
        parts["found"] = gr.HTML(js_on_load=SCRIPT, apply_default_css=False, elem_id="found")
    with gr.Row(elem_classes="hf-columns-row"):
        parts["config"] = _choice("Part of the dataset")
        parts["split"] = _choice("Split")
        parts["text"] = _choice("Column with the text")
        parts["title"] = _choice("Column with the title")
        parts["id"] = _choice("Column with the id")
    parts["chunk"] = gr.Checkbox(
        label="Cut long documents into parts", visible=HIDDEN, container=False,
        info="Each part is as long as the base model reads, and is found on its own.",
    )  # fmt: skip
    parts["preview"] = gr.HTML(elem_id="preview")


def _model(parts: Parts, settings: Settings) -> None:
    _step(2, "Base model", "What your model starts from. Larger ones are slower, here and in use.")
    chosen = base_label(settings.bases[0])
    parts["base"] = _cards("base", "Which model do you start from?", base_cards(settings), chosen)
    parts["other_base"] = gr.Textbox(
        label="Another base model", placeholder="org/name", max_length=200, visible=HIDDEN, elem_id="other-base",
        info="A model of the Hub with .safetensors weights; press Enter to have it looked up",
    )  # fmt: skip
    parts["base_note"] = gr.HTML()


def _training(parts: Parts, settings: Settings) -> None:
    _step(3, "Preset", "How queries are made from your documents, and how the model learns from them.")
    cards = preset_cards(Visitor(settings.root, ()), settings, {})
    parts["preset"] = _cards("preset", "How is it trained?", cards, DEFAULT_PRESET)
    parts["sample"] = gr.Button("Show me sample queries", size="sm", elem_id="sample-queries")
    parts["queries"] = gr.HTML(elem_id="queries")


def _place(parts: Parts, settings: Settings) -> None:
    _step(4, "Where it runs", "Time and money are estimated for your documents.")
    cards = place_cards(Visitor(settings.root, ()), settings, {})
    parts["place"] = _cards("place", "Where does it run?", cards, "local")
    with gr.Row():
        parts["flavor"] = _choice("Machine", scale=3)
        parts["max_cost"] = gr.Textbox(
            label="At most, in US dollars", placeholder="any sum", max_length=20, visible=HIDDEN, scale=1, min_width=160,
        )  # fmt: skip


def _publishing(parts: Parts) -> None:
    _step(5, "Publish", "The model and the queries it was trained on, as repos of yours on the Hub.")
    parts["visibility"] = gr.Radio(VISIBILITIES, value=Visibility.NOBODY.value, show_label=False, container=False)
    with gr.Group(visible=HIDDEN) as parts["repos"], gr.Row():
        parts["model_repo"] = gr.Textbox(label="Model repo", placeholder="org/name", max_length=200)
        parts["dataset_repo"] = gr.Textbox(label="Dataset repo", placeholder="org/name, or nothing", max_length=200)
    parts["names_note"] = gr.HTML()


def _launching(parts: Parts) -> None:
    parts["summary"] = gr.HTML()
    parts["launch"] = gr.Button("Launch", variant="primary", size="lg", interactive=False, elem_id="launch")
    parts["question"] = gr.HTML(elem_id="question")
    with gr.Row(visible=HIDDEN) as parts["confirm"]:
        parts["back"] = gr.Button("Not now", elem_id="back", min_width=100)
        parts["yes"] = gr.Button("Yes, spend it", variant="primary", elem_id="yes", min_width=140)
    parts["reason"] = gr.HTML(reason_line("Loading"), elem_id="reason")


def _wire(parts: Parts, session: Session, inputs: list[Any]) -> None:
    """Let every field bring the page up to date; what is typed is looked up only when it is done."""
    everything, cleared = parts.all(), [parts[name] for name in OF_DOCUMENTS]
    looked, glanced = _named(parts, show), _named(parts, glance)

    def on(handler: Any, *triggers: Any) -> Any:
        return gr.on(list(triggers), handler, inputs, everything, trigger_mode="always_last", **BUSY)

    def shown_after(event: Any) -> None:
        # Looking takes a while: what was typed meanwhile is checked as it stands by then.
        event.then(looked, inputs, everything, **BUSY).then(glanced, inputs, everything, **BUSY)

    for event in (
        on(looked, *(parts[name].input for name in CHOSEN), *(parts[name].submit for name in TYPED)),
        on(looked, *(parts[name].blur for name in TYPED if name != "dataset")),
    ):
        event.then(glanced, inputs, everything, **BUSY)
    # `input` is for keys alone: what is pasted, or filled in by the browser, only changes.
    on(glanced, *(parts[name].change for name in TYPED))
    files = parts["files"]
    for trigger in (parts["choice"].input, files.upload, files.delete, files.clear):
        shown_after(trigger(_cleared, None, cleared, **PRIVATE))
    parts["dataset"].change(
        search, [session.token, parts["dataset"]], parts["found"], trigger_mode="multiple",
        concurrency_limit=None, **PRIVATE,
    )  # fmt: skip
    picked = [parts["dataset"], parts["found"], *cleared]
    shown_after(parts["found"].select(_pick, session.token, picked, **PRIVATE))
    parts["sample"].click(_named(parts, show_queries), inputs, everything, **BUSY)


def _wire_launch(parts: Parts, session: Session, inputs: list[Any]) -> None:
    outputs = [*parts.all(), session.chosen, session.tabs]
    gone = {"chosen": session.chosen, "tabs": session.tabs}
    parts["launch"].click(_named(parts, launch_or_ask, gone), inputs, outputs, **BUSY)
    parts["yes"].click(_named(parts, confirm_launch, gone), inputs, outputs, **BUSY)
    parts["back"].click(_named(parts, take_back), inputs, parts.all(), **BUSY)


def _named(parts: Parts, handler: Callable[..., Iterator[Shown]], more: dict[str, Any] | None = None) -> Any:
    """Return a handler for Gradio of one that gives its updates by the names of the parts."""
    components = {**parts, **(more or {})}

    def handle(token: str, memo: Any, asked: Any, request: gr.Request, *values: Any) -> Iterator[dict[Any, Any]]:
        who, given = f"{token} {request.session_hash if request else ''}", dict(zip(FIELDS, values, strict=True))
        number, whole = _newest.take(who), _newest_whole.take(who) if handler in WHOLE else 0
        for found in handler(token, memo, asked, request, *values):
            # What an earlier form is told comes too late where a later one has been looked at since.
            if whole and not _newest_whole.is_latest(who, whole):
                yield gr.skip()
                return
            late = OF_THE_MOMENT if handler in LOOKING and not _newest.is_latest(who, number) else ()
            updates = {name: _changed(value, given.get(name)) for name, value in found.items() if name not in late}
            yield {components[name]: value for name, value in updates.items()} or gr.skip()

    return handle


def _changed(update: Any, given: Any) -> Any:
    """Return an update of a field without the value that the visitor gave it, who may have given another since."""
    if isinstance(update, gr.HTML | gr.Radio) and update.constructor_args.get("value") == given:
        return gr.update(**{name: value for name, value in update.constructor_args.items() if name != "value"})
    return gr.skip() if isinstance(update, str) and update == given else update


def _pick(token: str, picked: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
    """Take the dataset that was chosen among those found."""
    repo = str(picked.repo)[:200]
    forget(token, request, repo)
    return repo, "", *_cleared()


def _cleared() -> tuple[Any, ...]:
    """Forget what was chosen of the documents that are no longer named."""
    return tuple(False if name == "chunk" else "" for name in OF_DOCUMENTS)


def _step(number: int, title: str, words: str) -> None:
    head = tag("h2", tag("span", text(number), class_="hf-number-mark", aria_hidden="true"), text(title))
    gr.HTML(tag("header", head, tag("p", text(words)), class_="hf-step-head"))


def _cards(name: str, legend: str, cards: list[Any], chosen: str) -> gr.HTML:
    return make_cards(chosen, cards_html(name, legend, cards, chosen), f"{name}-cards")


def _choice(label: str, scale: int = 1) -> gr.Dropdown:
    return gr.Dropdown([("", "")], value="", label=label, visible=HIDDEN, min_width=160, scale=scale)
