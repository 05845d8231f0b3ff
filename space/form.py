"""The form of the Build page: what a visitor has filled in, what is wrong with it, and the recipe it makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from hfembed.corpus import HUB_SOURCE, SAMPLE
from hfembed.errors import CorpusError, HfembedError, InputError, ModelError
from hfembed.launch.contract import Place
from hfembed.launch.record import LauncherName
from hfembed.recipe import DEFAULT_PRESET, ChunkBy, Recipe, load_preset, make_recipe
from hfembed.resources import local_path

from .hub_names import names_dataset, names_model
from .settings import Settings
from .uploads import check_uploads

OTHER = "other"


class CorpusChoice(StrEnum):
    """Where the documents come from."""

    SAMPLE = "sample"
    UPLOAD = "upload"
    HUB = "hub"


class Visibility(StrEnum):
    """Who sees what is published."""

    NOBODY = "nobody"
    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True)
class Form:
    """What a visitor has filled in, field by field as the page's components give it.

    base: a suggested model as the page calls it, or OTHER for the one in other_base. text, title, id: columns; empty
    means guessed.
    """

    choice: str = CorpusChoice.SAMPLE
    files: tuple[Path, ...] = ()
    dataset: str = ""
    config: str = ""
    split: str = ""
    text: str = ""
    title: str = ""
    id: str = ""
    chunk: bool = False
    base: str = ""
    other_base: str = ""
    preset: str = DEFAULT_PRESET
    place: str = LauncherName.LOCAL
    flavor: str = ""
    max_cost: str = ""
    visibility: str = Visibility.NOBODY
    model_repo: str = ""
    dataset_repo: str = ""

    @property
    def publishes(self) -> bool:
        """Tell whether the result goes to the Hub."""
        return self.visibility != Visibility.NOBODY

    @property
    def until(self) -> str:
        """The last stage."""
        return "push" if self.publishes else "export"

    @property
    def source(self) -> str:
        """The Hub dataset with its config, as the command line names it."""
        match = HUB_SOURCE.match(self.dataset)
        if match is None or match["config"] or not self.config:
            return self.dataset
        return f"{match['repo']}:{self.config}" + (f"@{match['revision']}" if match["revision"] else "")

    @property
    def where(self) -> Place:
        """The place that is chosen."""
        return Place.parse(f"{self.place}:{self.flavor}" if self.flavor and self.is_elsewhere else self.place)

    @property
    def is_elsewhere(self) -> bool:
        """Tell whether a machine is paid for."""
        return self.place != LauncherName.LOCAL

    @property
    def corpus_key(self) -> tuple[Any, ...]:
        """What decides which documents are read."""
        hub = (self.source, self.split) if self.choice == CorpusChoice.HUB else ()
        files = self.files if self.choice == CorpusChoice.UPLOAD else ()
        return self.choice, files, hub, self.text, self.title, self.id


FIELDS = tuple(field.name for field in fields(Form))


def read_form(values: Sequence[Any]) -> Form:
    """Return the form as the page's components give it, in the order of FIELDS."""
    given = dict(zip(FIELDS, values, strict=True))
    words: dict[str, Any] = {name: str(value or "").strip() for name, value in given.items()}
    kept = {"files": tuple(Path(file) for file in given["files"] or ()), "chunk": bool(given["chunk"])}
    return Form(**{**words, **kept})


def check_corpus(form: Form, settings: Settings) -> None:
    """Refuse a form that names no documents that a visitor may read.

    Raises InputError (or a child of it) with the sentence that stands beside the Launch button.
    """
    if form.choice == CorpusChoice.UPLOAD:
        check_uploads(form.files, settings.max_megabytes)
    if form.choice == CorpusChoice.HUB:
        check_dataset(form.source)


def check_dataset(name: str) -> None:
    """Refuse everything that is not a Hub dataset id: a visitor must not name files of this machine."""
    if not name:
        raise CorpusError("No dataset is named yet.", "Name one of the Hub, for instance BeIR/scifact.")
    if not names_dataset(name):
        raise CorpusError(f"'{name}' is not a Hub dataset id.", "It reads org/name[:config][@revision].")


def base_of(form: Form, settings: Settings) -> str:
    """Return the base model that the form names.

    Raises ModelError for one that is neither offered nor a Hub id: a visitor must not name folders of this machine.
    """
    if form.base != OTHER:
        offered = {base_label(name): name for name in settings.bases}
        name = offered.get(form.base, form.base or settings.bases[0])
        if name in settings.bases:
            folder = local_path(name)
            return str(folder.resolve()) if folder else name
    else:
        name = form.other_base
    if not name:
        raise ModelError("No base model is named.", "Choose one, or type org/name.")
    if not names_model(name):
        raise ModelError(f"'{name}' is not a Hub model id.", "It reads org/name[@revision].")
    return name


def base_label(name: str) -> str:
    """Return what the page calls a base model: of a folder of this machine only its name."""
    return Path(name).name if local_path(name) else name


def make_form_recipe(form: Form, settings: Settings, corpus: str) -> Recipe:
    """Return the recipe of a form over a corpus; raises what the command line raises."""
    if not form.preset:
        raise InputError("No preset is chosen.", "Choose one of the presets.")
    load_preset(form.preset)
    options: dict[str, Any] = {
        "corpus": corpus,
        "base": base_of(form, settings),
        "pull.text_column": form.text or None,
        "pull.title_column": form.title or None,
        "pull.id_column": form.id or None,
        "pull.split": form.split or None if form.choice == CorpusChoice.HUB else None,
        "pull.chunk.by": ChunkBy.TOKENS.value if form.chunk else None,
    }
    if form.publishes:
        options |= {
            "push.model_repo": form.model_repo or None,
            "push.dataset_repo": form.dataset_repo or None,
            "push.public": form.visibility == Visibility.PUBLIC,
        }
    return make_recipe(form.preset, settings=settings.changes, options=options)


def check_form(form: Form, settings: Settings) -> Recipe:
    """Refuse a form that cannot be launched, as far as that can be told without asking anybody; else its recipe."""
    check_corpus(form, settings)
    recipe = make_form_recipe(form, settings, corpus_label(form))
    if form.publishes and not form.model_repo:
        raise InputError("No name is given for the model's repo.", "It reads org/name; or do not publish yet.")
    most_dollars(form)
    return recipe


def most_dollars(form: Form) -> float | None:
    """Return the most that a run elsewhere may cost, where the form says so."""
    if not form.max_cost or not form.is_elsewhere:
        return None
    try:
        most = float(form.max_cost.lstrip("$ "))
    except ValueError:
        most = 0.0
    if not 0 < most < math.inf:
        raise InputError(
            f"The most it may cost is '{form.max_cost}', but must be a sum above 0.", "Leave it empty for any."
        )
    return most


def missing(form: Form, settings: Settings) -> str:
    """Return why the form cannot be launched yet, or nothing when it can."""
    try:
        check_form(form, settings)
    except HfembedError as error:
        return in_one_line(error)
    return ""


def in_one_line(error: HfembedError) -> str:
    """Return an error and what to do about it."""
    return f"{error.message} {error.hint}".strip()


def corpus_label(form: Form) -> str:
    """Return what a visitor calls the corpus."""
    if form.choice == CorpusChoice.SAMPLE:
        return SAMPLE
    if form.choice == CorpusChoice.HUB:
        return form.source
    return form.files[0].name if len(form.files) == 1 else f"{len(form.files):,} files"
