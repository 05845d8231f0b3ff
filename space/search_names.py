"""Names: what a visitor may search and with what, and what it is to hfembed.

What a visitor may name is a word or an id: `sample`, `run:ID` of their own, or a dataset of the Hub as corpus; `base`,
`tuned`, `tuned:ID`, `bm25`, `hybrid`, `hybrid:MODEL`, a model of the Hub, or the model of an index of the Hub: `index`
where the corpus is one, `index:ORG/NAME`. A path of this machine is never one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from hfembed.compare import BASE, BM25, HYBRID, INDEX, TUNED, Contender
from hfembed.compare.contender import INDEXED, JOINED
from hfembed.corpus import SAMPLE
from hfembed.errors import CorpusError, HfembedError, HubError, ModelError
from hfembed.hub.search import look_up_model
from hfembed.run import LAYOUT

from .hub_names import names_dataset, names_dataset_file, names_model
from .indexes import find_hub_index
from .runs import VisitorRun, base_of, bring, find_run, with_model
from .settings import read_settings
from .visitors import Visitor

MOST_PARAMETERS = 700_000_000
RUN = "run:"
NO_MODEL = "Name a model that you trained here, one of the Hub (org/name), bm25 or hybrid."
NO_CORPUS = "Name sample, a corpus of one of your runs, or a dataset or an index of the Hub (org/name)."


@dataclass(frozen=True)
class Choice:
    """Something to choose: what it is called, and what names it in an address."""

    label: str
    key: str


def model_choices(visitor: Visitor, corpus: str) -> list[Choice]:
    """Return the models to choose from, where a corpus is searched."""
    runs = with_model(visitor)
    focus = next((one for one in runs if corpus == RUN + one.id), runs[0] if runs else None)
    if index := _offered_index(visitor, corpus):
        return [
            Choice(f"index: {index}", INDEX),
            Choice("BM25: words alone", BM25),
            Choice("hybrid: index and BM25", HYBRID),
        ]
    own = [Choice(_tuned_label(one), TUNED if one is focus else f"{TUNED}:{one.id}") for one in runs]
    own.sort(key=lambda choice: choice.key != TUNED)
    return [
        Choice(f"base: {_base_name(focus)}", BASE),
        *own,
        Choice("BM25: words alone", BM25),
        Choice(f"hybrid: {'tuned' if own else 'base'} and BM25", HYBRID),
    ]


def _offered_index(visitor: Visitor, corpus: str) -> str | None:
    """Return the model of a corpus that is an index; what is wrong with it is said when it is searched."""
    try:
        with visitor.acting():
            found = find_hub_index(corpus.strip(), visitor.name) if corpus else None
    except HfembedError:
        return None
    return str(found[1].model["name"]) if found else None


def corpus_choices(visitor: Visitor) -> list[Choice]:
    """Return the corpora to choose from: those of the visitor's runs, newest first, and the sample."""
    runs = [Choice(f"your run: {one.launch.name}, {_day(one)}", RUN + one.id) for one in with_model(visitor)]
    return [*runs, Choice("sample corpus", SAMPLE)]


def find_corpus(visitor: Visitor, name: str) -> tuple[str, str]:
    """Return what a corpus is to hfembed, and what it is called."""
    name = name.strip()
    if name == SAMPLE:
        return SAMPLE, SAMPLE
    if name.startswith(RUN):
        one = _run(visitor, name.removeprefix(RUN))
        return str(one.run.folder), one.launch.name
    if not name:
        raise CorpusError("No corpus is named.", NO_CORPUS)
    if not names_dataset(name) and not names_dataset_file(name):
        raise CorpusError(f"'{name}' is not a Hub dataset id.", NO_CORPUS)
    found = find_hub_index(name, visitor.name)
    return (found[0] if found else name), name


def find_contender(
    visitor: Visitor, key: str, keys: Sequence[str], focus: VisitorRun | None, corpus: str = ""
) -> Contender:
    """Return what a visitor names as a model among others; focus: the run that `base` and `tuned` are of."""
    if key == BM25:
        return Contender("BM25", words=True)
    if key != HYBRID and not key.startswith(JOINED):
        if index := _index(visitor, key, corpus):
            label, pinned = index
            return Contender(f"index: {label}", index=pinned)
        return Contender(*_model(visitor, key, focus))
    others = [name for name in keys if name not in (BM25, HYBRID) and not name.startswith(JOINED)]
    usual = INDEX if _names_index(visitor, corpus) else TUNED if focus else BASE
    joined = key.removeprefix(JOINED) if key != HYBRID else others[-1] if others else usual
    if index := _index(visitor, joined, corpus):
        label, pinned = index
        return Contender(f"hybrid: {label} and BM25", words=True, index=pinned)
    label, model = _model(visitor, joined, focus)
    return Contender(f"hybrid: {label.partition(':')[0]} and BM25", model, words=True)


def _names_index(visitor: Visitor, corpus: str) -> bool:
    return find_hub_index(corpus.strip(), visitor.name) is not None


def _index(visitor: Visitor, key: str, corpus: str) -> tuple[str, str] | None:
    """Return the model of an index of the Hub that a visitor names as a model, and the index at its commit."""
    if key != INDEX and not key.startswith(INDEXED):
        return None
    name = corpus.strip() if key == INDEX else key.removeprefix(INDEXED).strip()
    found = find_hub_index(name, visitor.name)
    if found is None:
        raise ModelError(f"'{name or key}' is no index of the Hub.", f"{INDEXED}ORG/NAME names one.")
    pinned, manifest = found
    _refuse_large(f"{manifest.model['name']}@{manifest.model['revision']}", visitor)
    return str(manifest.model["name"]), pinned


def _model(visitor: Visitor, key: str, focus: VisitorRun | None) -> tuple[str, str]:
    """Return what a model is called, and where it is."""
    key = key.strip()
    if key == BASE:
        return f"base: {_base_name(focus)}", base_of(visitor, focus) if focus else read_settings().bases[0]
    if key == TUNED or key.startswith(f"{TUNED}:"):
        one = focus if key == TUNED else _run(visitor, key.removeprefix(f"{TUNED}:"))
        if one is None:
            raise ModelError("None of your runs has a model yet.", "Launch one on the Build page.")
        return _tuned_label(one), str(one.run.path(LAYOUT.model))
    if not names_model(key):
        raise ModelError(f"'{key}' is not a Hub model id.", NO_MODEL)
    _refuse_large(key, visitor)
    return key, key


@lru_cache(maxsize=1_000)
def _parameters(model: str, asker: str | None) -> int | None:
    return look_up_model(model).parameters


def _refuse_large(model: str, visitor: Visitor) -> None:
    try:
        size = _parameters(model, visitor.name)  # what one may see is not told to another
    except HubError:
        return  # whether there is such a model at all is said where it is loaded: some need no Hub
    if size is not None and size > MOST_PARAMETERS:
        raise ModelError(
            f"'{model}' has {size / 1e6:,.0f} million parameters; models of up to {MOST_PARAMETERS / 1e6:,.0f} million "
            "are compared here.",
            f"hfembed compare {model} MODEL --corpus SRC --query TEXT compares it on a machine of your own.",
        )


def find_focus(visitor: Visitor, corpus: str) -> VisitorRun | None:
    """Return the run that `base` and `tuned` are of: that of the corpus, or the newest."""
    if corpus.startswith(RUN):
        return _run(visitor, corpus.removeprefix(RUN))
    return next(iter(with_model(visitor)), None)


def _run(visitor: Visitor, identity: str) -> VisitorRun:
    one = bring(visitor, find_run(visitor, identity))
    if not one.has_model:
        raise ModelError(f"The run {one.launch.name} has no model yet.", "Wait for it on the Runs page.")
    return one


def _base_name(focus: VisitorRun | None) -> str:
    base = focus.run.recipe().base if focus else read_settings().bases[0]
    return base.rstrip("/").rpartition("/")[2]


def _tuned_label(one: VisitorRun) -> str:
    return f"tuned: {one.launch.name}, {_day(one)}"


def _day(one: VisitorRun) -> str:
    return one.launch.attempts[0].submitted[:10]
