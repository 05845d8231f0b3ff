"""Study: what is known of the documents that the form names, and of what a run on them would take."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hfembed.corpus import SAMPLE, CorpusSource, locate_corpus
from hfembed.errors import HfembedError
from hfembed.events import silent
from hfembed.hardware import HARDWARE, SPACE_HARDWARE, Hardware
from hfembed.hub import locate_tokenizer
from hfembed.hub.datasets import DatasetParts, dataset_parts
from hfembed.launch.autotrain import with_autotrain
from hfembed.launch.contract import AUTOTRAIN_FLAVOR
from hfembed.launch.inputs import find_inputs
from hfembed.launch.quote import Quote, quote
from hfembed.launch.record import LauncherName
from hfembed.launch.send import launcher_of
from hfembed.launch.workload import Workload, measure_workload
from hfembed.pull.documents import Tally
from hfembed.pull.look import Look, Sample, look, take_sample
from hfembed.recipe import Recipe, apply_settings, make_recipe
from hfembed.run import Run

from .form import CorpusChoice, Form, base_of, check_corpus, make_form_recipe
from .settings import Settings
from .uploads import keep_uploads
from .visitors import Visitor

# Prices change rarely, and every visitor sees the same.
PRICES_SECONDS = 600.0
_prices: dict[LauncherName, tuple[float, list[Hardware]]] = {}
_prices_guard = threading.Lock()


@dataclass(frozen=True)
class Study:
    """What is known so far. names: the columns there are. error: why it is not more, in the words of the command line.

    corpus, model: what of the form `sample` and `found` are of. load: what the time and the money follow from.
    """

    corpus: tuple[Any, ...] = ()
    model: tuple[Any, ...] = ()
    sample: Sample | None = None
    found: Look | None = None
    parts: DatasetParts = field(default_factory=DatasetParts)
    names: tuple[str, ...] = ()
    load: Workload | None = None
    error: HfembedError | None = None


def is_current(study: Study, form: Form) -> bool:
    """Tell whether a study is of what the form names now."""
    return (study.corpus, study.model) == (form.corpus_key, model_key(form))


def model_key(form: Form) -> tuple[Any, ...]:
    """Return what decides how documents look to the base model."""
    return form.base, form.other_base, form.chunk


def study_documents(visitor: Visitor, form: Form, settings: Settings, before: Study) -> Study:
    """Read the first documents that the form names, if that was not done before, and say what they are like."""
    kept = before if before.corpus == form.corpus_key and before.sample else Study()
    study = replace(kept, corpus=form.corpus_key, model=model_key(form), found=None, load=None, error=None)
    tally = Tally()
    try:
        check_corpus(form, settings)
        recipe = make_form_recipe(form, settings, SAMPLE)
        with visitor.acting():
            if study.sample is None:
                with _source_of(form) as named:
                    source = locate_corpus(named)
                    study = replace(study, parts=_parts(form, recipe, source))
                    study = replace(study, sample=take_sample(source, recipe.pull, tally))
                study = replace(study, names=tuple(tally.names))
            if study.sample:
                found = look(study.sample, recipe.pull, locate_tokenizer(recipe.base))
                study = replace(study, found=found)
    except HfembedError as error:
        study = replace(study, names=study.names or tuple(tally.names), error=error)
    return study


def weigh(visitor: Visitor, form: Form, settings: Settings, study: Study) -> Study:
    """Find out how much there is to do, for the time and the money that every preset and place would take."""
    if study.error or study.load:
        return study
    try:
        with visitor.acting(), _source_of(form) as named:
            recipe = make_form_recipe(form, settings, named)
            sent = sum(entry.size() for entry in find_inputs(recipe))
            return replace(study, load=measure_workload(recipe, Run(Path(named) / "no-run-yet"), sent))
    except HfembedError as error:
        return replace(study, error=error)


def quote_local(study: Study, preset: str, settings: Settings, until: str) -> Quote | None:
    """Return what a preset would take on this machine."""
    if study.load is None:
        return None
    recipe = make_recipe(preset, settings=settings.changes)
    return quote(recipe, study.load, hardware_of(LauncherName.LOCAL), until, remote=False)


def quote_place(study: Study, form: Form, settings: Settings, place: LauncherName) -> Quote | None:
    """Return what the form's preset would take at a place."""
    if study.load is None or not form.preset:
        return None
    recipe = make_recipe(form.preset, settings=settings.changes)
    if form.chunk:
        recipe = apply_settings(recipe.model_dump(mode="json"), options={"pull.chunk.by": "tokens"})
    hardware = hardware_of(place)
    if place is LauncherName.AUTOTRAIN:
        recipe = with_autotrain(recipe, form.flavor if form.place == place and form.flavor else AUTOTRAIN_FLAVOR)
    usual = AUTOTRAIN_FLAVOR if place is LauncherName.AUTOTRAIN else None
    return quote(recipe, study.load, hardware, form.until, usual, remote=place is not LauncherName.LOCAL)


def hardware_of(place: LauncherName) -> Sequence[Hardware]:
    """Return the machines of a place at today's prices, or at those that were last known while nobody has asked."""
    if place is LauncherName.LOCAL:
        return launcher_of(place, silent()).hardware()
    with _prices_guard:
        known = _prices.get(place)
    if known is not None:
        return known[1]
    listed = HARDWARE if place is LauncherName.JOBS else SPACE_HARDWARE
    if place is LauncherName.AUTOTRAIN:
        from hfembed.hub.autotrain import FLAVORS

        return [item for item in listed if item.name in FLAVORS]
    return listed


def ask_prices(visitor: Visitor) -> None:
    """Ask the Hub what its machines cost now, where that was not done for a while."""
    for place in (LauncherName.JOBS, LauncherName.SPACE, LauncherName.AUTOTRAIN):
        with _prices_guard:
            asked, _ = _prices.get(place, (-PRICES_SECONDS, []))
        if time.monotonic() - asked < PRICES_SECONDS:
            continue
        with visitor.acting():
            found = launcher_of(place, silent()).hardware()
        with _prices_guard:
            _prices[place] = (time.monotonic(), found)


def _parts(form: Form, recipe: Recipe, source: CorpusSource) -> DatasetParts:
    if source.repo is None:
        return DatasetParts()
    return dataset_parts(source.repo, source.config, str(source.revision), recipe.pull.split)


@contextmanager
def _source_of(form: Form) -> Iterator[str]:
    """Give what names the documents; uploaded ones stand together in a folder for as long as they are looked at."""
    if form.choice != CorpusChoice.UPLOAD:
        yield form.source if form.choice == CorpusChoice.HUB else SAMPLE
        return
    with tempfile.TemporaryDirectory(prefix="hfembed-look-") as work:
        yield str(keep_uploads(form.files, Path(work), only_look=True))


def base_name(form: Form, settings: Settings) -> str:
    """Return the base model of the form, or nothing where it names none that may be used."""
    try:
        return base_of(form, settings)
    except HfembedError:
        return ""
