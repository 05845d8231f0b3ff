"""Contender: one of those that are compared; a model, an index, BM25, or a model and BM25 together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hfembed.errors import InputError
from hfembed.place import is_index
from hfembed.recipe import Encoder
from hfembed.resources import local_path
from hfembed.run import LAYOUT, Run
from hfembed.stage import model_folder

BM25, HYBRID, BASE, TUNED = "bm25", "hybrid", "base", "tuned"
JOINED = f"{HYBRID}:"
INDEX = "index"
INDEXED = f"{INDEX}:"


@dataclass(frozen=True)
class Contender:
    """What answers queries.

    name: what it is called. model: a folder, a Hub id, or a recipe, whose base it is; index: an index instead, whose
    model it is; neither where words alone decide. words: BM25 has a say.
    """

    name: str
    model: str | None = None
    words: bool = False
    index: str | None = None

    @property
    def has_vectors(self) -> bool:
        """Tell whether vectors have a say."""
        return self.model is not None or self.index is not None


def read_contenders(names: Sequence[str], corpus: str) -> list[Contender]:
    """Return what is to be compared.

    names: folders, runs, Hub ids, indexes (folders, or `index:ORG/NAME`), `bm25`, `hybrid` (BM25 together with the last
    of the models, or `hybrid:MODEL`); where the corpus is a run, also its `base` and `tuned`, and where it is an index
    its `index`.
    """
    run = _run_of(corpus)
    plain = [name for name in names if name.lower() not in (BM25, HYBRID) and not name.startswith(JOINED)]
    last = plain[-1] if plain else TUNED if run is not None else INDEX if names_index(corpus) else None
    return [_contender(name, last, run, corpus) for name in names]


def names_index(name: str) -> bool:
    """Tell whether a name says that it is an index: a folder that is one."""
    folder = local_path(name)
    return folder is not None and is_index(folder)


def _contender(name: str, last: str | None, run: Run | None, corpus: str) -> Contender:
    lowered = name.lower()
    if lowered == BM25:
        return Contender(name, words=True)
    if lowered == HYBRID:
        if last is None:
            raise InputError(f"'{name}' joins a model with BM25, and no model is named.", f"{JOINED}MODEL names one.")
        return _of(name, last, run, corpus, words=True)
    if name.startswith(JOINED):
        return _of(name, name.removeprefix(JOINED), run, corpus, words=True)
    return _of(name, name, run, corpus, words=False)


def _of(name: str, model: str, run: Run | None, corpus: str, *, words: bool) -> Contender:
    if model == INDEX and local_path(model) is None:
        return Contender(name, index=corpus, words=words)
    if model.startswith(INDEXED):
        return Contender(name, index=model.removeprefix(INDEXED), words=words)
    if names_index(model):
        return Contender(name, index=model, words=words)
    return Contender(name, _model_of(model, run), words=words)


def _model_of(name: str, run: Run | None) -> str:
    folder = local_path(name)
    if folder is not None:
        return str(model_folder(folder))
    if run is not None and name == TUNED:
        return str(run.path(LAYOUT.model))
    return base_of(run) if run is not None and name == BASE else name


def base_of(run: Run) -> str:
    """Return the base of a run; where it is used otherwise than its own files say, the recipe that says how."""
    recipe = run.recipe()
    return recipe.base if recipe.encoder == Encoder() else str(run.path(LAYOUT.recipe))


def _run_of(corpus: str) -> Run | None:
    folder = local_path(corpus)
    return Run(Path(folder)) if folder is not None and (folder / LAYOUT.recipe).is_file() else None
