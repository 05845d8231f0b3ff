"""Bases: models that a run can well start from, with what one should know to choose among them."""

from __future__ import annotations

import yaml

from hfembed.recipe import Section
from hfembed.resources import bases_file


class SuggestedBase(Section):
    """A base model. parameters: in millions. tokens: how many of a document it sees."""

    name: str
    parameters: int
    tokens: int
    languages: str
    licence: str
    about: str


def load_bases() -> list[SuggestedBase]:
    """Return the models that are suggested, the default first."""
    return [SuggestedBase.model_validate(entry) for entry in yaml.safe_load(bases_file().read_text(encoding="utf-8"))]
