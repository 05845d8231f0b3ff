"""Which documents are learned from, which choose settings, and which give the verdict."""

from __future__ import annotations

import random

from hfembed.generate.query import Split
from hfembed.recipe import Generate


def split_groups(groups: list[str], settings: Generate, seed: int) -> list[Split]:
    """Assign every document to a split; documents of one group always go together."""
    names = sorted(set(groups))
    random.Random(seed).shuffle(names)
    test, dev = round(len(names) * settings.test_share), round(len(names) * settings.dev_share)
    where = {
        name: Split.TEST if at < test else Split.DEV if at < test + dev else Split.TRAIN
        for at, name in enumerate(names)
    }
    return [where[group] for group in groups]
