"""Launching from the Build page: looked at once more, asked about where it costs money, then under way."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hfembed.bases import load_bases
from hfembed.corpus import SAMPLE
from hfembed.errors import InputError
from hfembed.generate.preview import Preview, preview
from hfembed.launch.record import read_link
from hfembed.launch.send import Conditions, Plan
from hfembed.pull.look import Look, keep_texts
from hfembed.recipe import Recipe
from hfembed.resources import local_path
from hfembed.run import Run

from . import runs
from .form import OTHER, CorpusChoice, Form, Visibility, base_label, corpus_label, make_form_recipe, most_dollars
from .settings import Settings
from .uploads import ALLOWED, keep_uploads
from .visitors import Visitor

PREVIEWED = 5
CENT = 0.01


def find_price(visitor: Visitor, form: Form, settings: Settings) -> Plan:
    """Look at what the form asks for, as a launch does; nothing is started, and nothing is kept."""
    with _prepared(visitor, form, settings) as (folder, found):
        shutil.rmtree(folder)
        return found


def launch(visitor: Visitor, form: Form, settings: Settings, agreed: float | None = None) -> runs.VisitorRun:
    """Launch what the form asks for; what costs money only up to what was agreed to.

    Whatever goes wrong, nothing is left behind.
    """
    with _prepared(visitor, form, settings) as (folder, found):
        if found.worst > (agreed or 0.0) + CENT:
            raise InputError("Prices have changed since you were asked.", "Press Launch again.")
        return runs.start(visitor, folder, found)


def sample_queries(visitor: Visitor, form: Form, settings: Settings, found: Look) -> Preview:
    """Write the queries of a few of the form's documents, as a run would; nothing is kept."""
    recipe = make_form_recipe(form, settings, SAMPLE)
    with tempfile.TemporaryDirectory(prefix="hfembed-queries-") as work, visitor.acting():
        run = Run(Path(work) / "run")
        keep_texts(found, run, recipe.pull.near_duplicates)
        return preview(recipe, run, PREVIEWED)


def fill_form(recipe: Recipe, place: str, flavor: str, until: str, settings: Settings) -> Form:
    """Return the form that would make this recipe, as far as the page has fields for what it says."""
    pull, push = recipe.pull, recipe.push
    corpus, path = str(recipe.corpus), local_path(str(recipe.corpus))
    files: tuple[Path, ...] = ()
    choice = CorpusChoice.SAMPLE if corpus == SAMPLE else CorpusChoice.HUB
    if Path(corpus).is_absolute():
        choice, files = CorpusChoice.UPLOAD, _files(path)
    offered = [*settings.bases, *(one.name for one in load_bases())]
    base = next((base_label(name) for name in offered if _same(name, recipe.base)), OTHER)
    publishes = until == "push"
    visible = Visibility.PUBLIC if push.public else Visibility.PRIVATE
    return Form(
        choice=choice,
        files=files,
        dataset=corpus if choice is CorpusChoice.HUB else "",
        split="" if pull.split == "train" else pull.split,
        text=pull.text_column or "",
        title=pull.title_column or "",
        id=pull.id_column or "",
        chunk=pull.chunk.by != "none",
        base=base,
        other_base=recipe.base if base == OTHER else "",
        preset=recipe.preset,
        place=place,
        flavor=flavor if place != "local" else "",
        visibility=visible if publishes else Visibility.NOBODY,
        model_repo=push.model_repo or "",
        dataset_repo=push.dataset_repo or "",
    )


def borrow(files: Sequence[Path]) -> tuple[Path, ...]:
    """Copy the files of an earlier run to where uploads are kept; nothing of a run's own is ever served."""
    from gradio.processing_utils import save_file_to_cache
    from gradio.utils import get_upload_folder

    return tuple(Path(save_file_to_cache(file, get_upload_folder())) for file in files)


@contextmanager
def _prepared(visitor: Visitor, form: Form, settings: Settings) -> Iterator[tuple[Path, Plan]]:
    folder = runs.new_folder(visitor)
    try:
        uploads = form.choice == CorpusChoice.UPLOAD
        corpus = str(keep_uploads(form.files, folder / runs.UPLOADS).resolve()) if uploads else corpus_label(form)
        recipe = make_form_recipe(form, settings, corpus)
        conditions = Conditions(max_cost=most_dollars(form))
        yield folder, runs.prepare(visitor, folder, recipe, form.where, form.until, conditions)
    except BaseException:
        run = Run(folder / runs.RUN)
        if not run.folder.is_dir() or read_link(run) is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _files(path: Path | None) -> tuple[Path, ...]:
    if path is None:
        return ()
    found = [path] if path.is_file() else sorted(path.rglob("*"))
    return tuple(file for file in found if file.suffix.lower() in ALLOWED)


def _same(one: str, other: str) -> bool:
    return one == other or (local_path(one) is not None and str(Path(one).resolve()) == other)
