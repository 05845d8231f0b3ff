"""Uploads: everything that push writes into the repos that a recipe names, and what its owner should know before."""

from __future__ import annotations

from pathlib import Path

from hfembed.hub import Upload
from hfembed.push.dataset_files import dataset_files
from hfembed.push.facts import Facts
from hfembed.push.model_card import model_files

MESSAGE = "Publish with hfembed"
MODEL_FOLDERS = ("onnx", "figures")
DATASET_FOLDERS = ("triplets", "corpus", "queries", "qrels", "figures")


def make_uploads(facts: Facts, work: Path) -> list[Upload]:
    """Write what is not there yet below `work`, and return what goes into each repo, cards checked; nothing is sent."""
    settings, made = facts.recipe.push, []
    if settings.dataset_repo:
        files = dataset_files(facts, settings.dataset_repo, work, settings.model_repo)
        made.append(Upload(settings.dataset_repo, "dataset", files, MESSAGE, settings.public, owned=DATASET_FOLDERS))
    if settings.model_repo:
        files = model_files(facts, settings.model_repo, settings.dataset_repo)
        asked = settings.pull_request or asks_first(facts)
        made.append(Upload(settings.model_repo, "model", files, MESSAGE, settings.public, asked, MODEL_FOLDERS))
    return made


def asks_first(facts: Facts) -> bool:
    """Tell whether the model opens a pull request unasked: one that is worse than its base replaces nothing on its own."""
    return facts.report["verdict"] == "worse" and not facts.recipe.push.force


def warnings_about(facts: Facts) -> list[str]:
    """Return what the owner of the repos should know before anything is published."""
    found = [facts.licence.warning] if facts.licence.warning else []
    if facts.recipe.push.public and facts.corpus.license is None:
        found.append(
            "The repos are public and the corpus's licence is unknown: the dataset repo holds the whole text of the "
            "corpus, and the model card quotes from it."
        )
    return found
