"""The form of the Build page, and what is still missing in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hfembed.corpus import HUB_SOURCE, SAMPLE
from hfembed.errors import CorpusError, HfembedError, InputError, ModelError
from hfembed.hub import REPO_ID
from hfembed.recipe import load_preset

from .settings import Settings
from .uploads import check_uploads


class CorpusChoice(StrEnum):
    """Where the documents come from."""

    SAMPLE = "Sample corpus"
    UPLOAD = "Upload files"
    HUB = "Hub dataset"


@dataclass(frozen=True)
class Form:
    """What a visitor has filled in."""

    choice: CorpusChoice
    files: tuple[Path, ...]
    dataset: str
    base: str
    preset: str


def read_form(choice: str, files: Sequence[str] | None, dataset: str | None, base: str | None, preset: str) -> Form:
    """Return the form as the page's components give it."""
    return Form(
        choice=CorpusChoice(choice),
        files=tuple(Path(file) for file in files or ()),
        dataset=(dataset or "").strip(),
        base=(base or "").strip(),
        preset=preset or "",
    )


def check_form(form: Form, settings: Settings) -> None:
    """Refuse a form that cannot be launched.

    Raises InputError (or a child of it) with the sentence that stands beside the Launch button.
    """
    if form.choice is CorpusChoice.UPLOAD:
        check_uploads(form.files, settings.max_megabytes)
    if form.choice is CorpusChoice.HUB:
        check_dataset(form.dataset)
    check_base(form.base, settings.bases)
    if not form.preset:
        raise InputError("No preset is chosen.", "Choose one of the presets.")
    load_preset(form.preset)


def missing(form: Form, settings: Settings) -> str:
    """Return why the form cannot be launched yet, or nothing when it can."""
    try:
        check_form(form, settings)
    except HfembedError as error:
        return f"{error.message} {error.hint}".strip()
    return ""


def check_dataset(name: str) -> None:
    """Refuse everything that is not a Hub dataset id: a visitor must not name files of this machine."""
    if not name:
        raise CorpusError("No dataset is named yet.", "Name one of the Hub, for instance BeIR/scifact.")
    match = HUB_SOURCE.match(name)
    if match is None or not REPO_ID.match(match["repo"]) or ".." in name:
        raise CorpusError(f"'{name}' is not a Hub dataset id.", "It reads org/name[:config][@revision].")


def check_base(name: str, offered: Sequence[str]) -> None:
    """Refuse a base model that is neither offered nor a Hub id."""
    if not name:
        raise ModelError("No base model is named.", "Choose one, or type org/name.")
    if name not in offered and (not REPO_ID.match(name.partition("@")[0]) or ".." in name):
        raise ModelError(f"'{name}' is not a Hub model id.", "It reads org/name[@revision].")


def corpus_label(form: Form) -> str:
    """Return what a visitor calls the corpus."""
    if form.choice is CorpusChoice.SAMPLE:
        return SAMPLE
    if form.choice is CorpusChoice.HUB:
        return form.dataset
    return form.files[0].name if len(form.files) == 1 else f"{len(form.files):,} files"
