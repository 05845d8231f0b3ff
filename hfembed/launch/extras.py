"""What a run needs on a bare machine: the optional libraries, and how many processes train."""

from __future__ import annotations

from hfembed.corpus import SAMPLE, TABLES, locate_corpus
from hfembed.hardware import Hardware
from hfembed.pipeline import NAMES, STAGES
from hfembed.pull.files import LIBRARIES
from hfembed.recipe import GenerateMethod, Recipe, Tuning
from hfembed.resources import local_path

RICH_FILES = set(LIBRARIES)


def extras_of(recipe: Recipe, until: str) -> list[str]:
    """Return the extras of hfembed that the stages of a recipe need."""
    stages = STAGES[: NAMES.index(until) + 1]
    found = {extra for stage in stages for extra in stage.extras}
    corpus = str(recipe.corpus)
    is_local = corpus == SAMPLE or local_path(corpus) is not None
    if not is_local or recipe.generate.filters.encode():
        found.add("train")  # datasets, and the base model
    if recipe.generate.method is GenerateMethod.MODEL:
        found.add("llm")
    # Files on the Hub are looked at where they are read.
    if RICH_FILES & locate_corpus(corpus).suffixes() if is_local else not corpus.endswith(TABLES):
        found.add("files")
    return sorted(found)


def processes_of(recipe: Recipe, hardware: Hardware) -> int:
    """Return how many processes train together: one for each GPU where weights are trained, else one."""
    tunes = any(isinstance(phase, Tuning) for phase in recipe.train.phases)
    return max(1, hardware.gpus) if tunes else 1
