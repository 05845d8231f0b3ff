"""Which documents are learned from, which choose settings, and which give the verdict."""

from __future__ import annotations

import random
from collections.abc import Collection

from hfembed.generate.query import Split
from hfembed.recipe import Generate


def split_groups(groups: list[str], settings: Generate, seed: int, labelled: Collection[str] = ()) -> list[Split]:
    """Assign every document to a split; documents of one group always go together.

    labelled: groups that are there to be learned from, and are tested on only where no others are left.
    """
    names = sorted(set(groups))
    random.Random(seed).shuffle(names)
    test, dev = round(len(names) * settings.test_share), round(len(names) * settings.dev_share)
    held = sorted(names, key=lambda name: name in labelled)[:test]
    taken = set(held)
    rest = [name for name in names if name not in taken]
    if labelled:  # those that the test passed over stand first, and would all be dev
        random.Random(seed + 1).shuffle(rest)
    where = dict.fromkeys(held, Split.TEST) | dict.fromkeys(rest[:dev], Split.DEV)
    return [where.get(group, Split.TRAIN) for group in groups]
