"""Contender: one of those that are compared; a model, BM25, or both together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hfembed.errors import InputError
from hfembed.recipe import Encoder
from hfembed.resources import local_path
from hfembed.run import LAYOUT, Run
from hfembed.stage import model_folder

BM25, HYBRID, BASE, TUNED = "bm25", "hybrid", "base", "tuned"
JOINED = f"{HYBRID}:"


@dataclass(frozen=True)
class Contender:
    """What answers queries.

    name: what it is called. model: a folder, a Hub id, or a recipe, whose base it is, unless words alone decide.
    words: BM25 has a say.
    """

    name: str
    model: str | None
    words: bool = False


def read_contenders(names: Sequence[str], corpus: str) -> list[Contender]:
    """Return what is to be compared.

    names: folders, runs, Hub ids, `bm25`, `hybrid` (BM25 together with the last of the models, or `hybrid:MODEL`);
    where the corpus is a run, also its `base` and `tuned`.
    """
    run = _run_of(corpus)
    plain = [name for name in names if name.lower() not in (BM25, HYBRID) and not name.startswith(JOINED)]
    last = plain[-1] if plain else TUNED if run is not None else None
    return [_contender(name, last, run) for name in names]


def _contender(name: str, last: str | None, run: Run | None) -> Contender:
    lowered = name.lower()
    if lowered == BM25:
        return Contender(name, None, words=True)
    if lowered == HYBRID:
        if last is None:
            raise InputError(f"'{name}' joins a model with BM25, and no model is named.", f"{JOINED}MODEL names one.")
        return Contender(name, _model_of(last, run), words=True)
    if name.startswith(JOINED):
        return Contender(name, _model_of(name.removeprefix(JOINED), run), words=True)
    return Contender(name, _model_of(name, run))


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
