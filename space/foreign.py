"""Foreign: what a recipe must not name here. One that came back from a repo was in its owner's hands meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfembed.errors import RunError
from hfembed.recipe import Recipe, make_recipe
from hfembed.resources import local_path

from .settings import Settings

NEW_RUN = "Launch a new run on the Build page."


def refuse_foreign(recipe: Recipe, folder: Path, settings: Settings) -> None:
    """Refuse a recipe that names anything of this machine but what stands in the run's own folder, or is offered to all.

    A run works in a folder below its own, so a name without a way out of there is none of this machine's.
    """
    offered, named = make_recipe(recipe.preset, settings=settings.changes), recipe.model_dump(mode="json")
    allowed = set(_texts(offered.model_dump(mode="json")))
    refuse_foreign_base(recipe.base, folder, settings)
    del named["push"]["words"], named["base"]  # words are only ever printed
    for text in _texts(named):
        if text not in allowed and _leads_out(text, folder):
            raise RunError(f"The recipe of this run names '{text}', which is not its own.", NEW_RUN)
    asked, known = recipe.generate.llm, offered.generate.llm
    if (asked.endpoint, asked.key_env) != (known.endpoint, known.key_env):
        raise RunError("The recipe of this run asks a language model that is not this page's.", NEW_RUN)


def refuse_foreign_base(base: str, folder: Path, settings: Settings) -> None:
    """Refuse a base model that is a folder of this machine, but neither the run's own nor offered to all."""
    if base not in map(_resolved, settings.bases) and _leads_out(base, folder):
        raise RunError(f"The recipe of this run names '{base}', which is not its own.", NEW_RUN)


def _leads_out(text: str, folder: Path) -> bool:
    is_path = text.startswith(("/", "~")) or ".." in text
    return is_path and not Path(text).expanduser().resolve().is_relative_to(folder.resolve())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _resolved(name: str) -> str:
    folder = local_path(name)
    return str(folder.resolve()) if folder is not None else name
