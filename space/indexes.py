"""Indexes of the Hub that visitors search: which they may, and at which commit.

What stands in somebody's repo decides which model is loaded here, so it is looked at before anything is brought: the
model must be one of the Hub that a visitor could name, and the index not larger than what may be kept.
"""

from __future__ import annotations

import time
from functools import lru_cache

from hfembed.corpus import HUB_SOURCE
from hfembed.errors import InputError
from hfembed.hub import dataset_bytes, dataset_file
from hfembed.index.manifest import IndexManifest, finished
from hfembed.place import find_place
from hfembed.run import INDEX_LAYOUT

from .hub_names import names_model

MOST_BYTES = 4 << 30
# What was found of a name is looked at again after so long: who may see it, and its newest commit, can change.
FRESH_SECONDS = 600


def find_hub_index(name: str, asker: str | None) -> tuple[str, IndexManifest] | None:
    """Return an index with the commit that was looked at, and what it says of itself; nothing where a name is no index.

    asker: who acts now; what one may see is not told to another.
    """
    match = HUB_SOURCE.match(name)
    if not names_model(name) or match is None or match["config"]:
        return None
    return _find(name, asker, int(time.monotonic() // FRESH_SECONDS))


@lru_cache(maxsize=1_000)
def _find(name: str, asker: str | None, since: int) -> tuple[str, IndexManifest] | None:
    place = find_place(name)
    if not place.is_index or place.commit is None:
        return None
    repo = name.partition("@")[0]
    manifest = finished(dataset_file(repo, place.commit, INDEX_LAYOUT.manifest).parent)
    _refuse_model(name, manifest)
    size = dataset_bytes(repo, place.commit)
    if size > MOST_BYTES:
        raise InputError(
            f"The index '{name}' has {size / 1e9:,.1f} GB; indexes of up to {MOST_BYTES / 1e9:,.1f} GB are searched here.",
            f"hfembed search {name} TEXT searches it on a machine of your own.",
        )
    return f"{repo}@{place.commit}", manifest


def _refuse_model(name: str, manifest: IndexManifest) -> None:
    known, revision = str(manifest.model.get("name")), str(manifest.model.get("revision") or "")
    if (
        not revision
        or manifest.model.get("encoder")
        or not names_model(known)
        or not names_model(f"{known}@{revision}")
    ):
        raise InputError(
            f"The index '{name}' is of '{known}', which is no model of the Hub as it stands there: nobody else has it.",
            "Publish the model, and index with that: hfembed index CORPUS --model ORG/NAME --repo ORG/INDEX",
        )
