"""The Learn page: what the presets do, how to use the result, how it is proven, who sees what, and the words."""

from __future__ import annotations

import gradio as gr

from hfembed.glossary import read_glossary
from hfembed.push import how_to_search, how_to_use
from hfembed.recipe import load_presets

from .html import tag, text
from .markdown import markdown_html
from .page import Page, Session
from .settings import read_settings

REPO = "org/name"
PROOF = (
    "The documents are divided before anything is learned: some to learn from, some to choose by, some to test on.",
    "Queries about the last ones are kept aside; neither they nor their documents are seen before the end.",
    "The base, your tuned model and BM25, a search for words alone, answer the same queries, and the answers are scored.",
    "The test is drawn anew thousands of times, by document, to see how much of the difference is chance.",
    "Only where chance is ruled out does the report say better or worse; else it says no difference, and how small a "
    "difference it could have seen.",
)
CAUTION = (
    "The queries of the test are made from your documents, so they share words with them. What your users ask is the "
    "last word: try some of their questions on the Compare page."
)
HERE = (
    "What you upload and what your runs make stays on this Space's machine, in a folder that only your browser, or your "
    "account once you sign in, leads to. No other visitor sees it; whoever runs this Space can.",
    "A Space without storage of its own forgets all of it when it restarts. Of somebody who is signed in, every run is "
    "kept as well in a private repo of theirs, named hfembed-run-….",
)
OWN = ("This page runs on your own machine, and what your runs make stays there, in a folder of yours.",)
LEAVES = (
    "A dataset or model of the Hub that you name is fetched from there, as you if you are signed in.",
    "A run that you send to a Job, a training Space or AutoTrain takes your documents along, in a private repo of the "
    "account that pays.",
    "A preset that asks a language model sends your documents to the one that it names.",
    "Publishing makes repos, private unless you say otherwise. The data repo holds the whole text of your documents, and "
    "the card of the model quotes from them.",
    "Nothing else is sent anywhere. Remove a run on the Runs page, and what is here of it is gone; what is on the Hub you "
    "delete there.",
)


def learn_page(session: Session) -> Page:
    """Lay out the page; it needs nothing of the visitor."""
    gr.HTML(learn_html(is_local=read_settings().is_local), elem_id="learn-page")
    return Page("learn", lambda: None)


def learn_html(*, is_local: bool) -> str:
    """Return the whole page."""
    return tag(
        "div",
        _section("What the presets do", _presets()),
        _section("How your model is proven", tag("ol", *_items(PROOF)), tag("p", text(CAUTION))),
        _section("How to use your model", _use()),
        _section("What leaves this page, and who sees it", tag("ul", *_items((*(OWN if is_local else HERE), *LEAVES)))),
        _section("Words", _glossary()),
        class_="hf-learn",
    )


def _section(title: str, *inner: str) -> str:
    return tag("section", tag("h2", text(title)), *inner)


def _items(sentences: tuple[str, ...]) -> list[str]:
    return [tag("li", text(sentence)) for sentence in sentences]


def _presets() -> str:
    cards = [
        tag(
            "article",
            tag("h3", text(name)),
            tag("p", text(preset.description)),
            tag("p", text(f"Needs {preset.needs}."), class_="hf-meta"),
            class_="hf-learn-preset",
        )
        for name, preset in load_presets().items()
    ]
    return tag("div", *cards, class_="hf-learn-presets")


def _use() -> str:
    first = tag("p", "A search over texts of yours, anywhere, without hfembed:")
    search = tag("pre", tag("code", text(how_to_search(REPO))), tabindex="0")
    download = tag(
        "p", "Of a model that you downloaded and unpacked, name the folder instead of ", tag("code", REPO), "."
    )
    engines = tag("details", tag("summary", "Every engine: sentence-transformers, ONNX, a server, a browser"),
                  markdown_html(how_to_use(REPO)), class_="hf-details")  # fmt: skip
    return first + search + download + engines


def _glossary() -> str:
    rows = [tag("dt", text(word)) + tag("dd", markdown_html(meaning)) for word, meaning in read_glossary().items()]
    return tag("dl", *rows, class_="hf-glossary")
