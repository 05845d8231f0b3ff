"""Known: which documents an index had when a build began, so that only what is new or changed is embedded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hfembed.embed import text_key
from hfembed.index.store import KEY, Store

Keys = npt.NDArray[np.uint64]


class Known:
    """The documents that an index had when a build began, by hashes, and which of them were met again."""

    def __init__(self, store: Store) -> None:
        """Read what is there."""
        ids, keys = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        for batch in store.batches("id", KEY):
            ids.append(hashes(batch["id"].to_pylist()))
            keys.append(batch[KEY].to_numpy())
        found = np.concatenate(ids)
        order = np.argsort(found)
        self._ids, self._keys = found[order], np.concatenate(keys)[order]
        self._met = np.zeros(len(found), dtype=np.bool_)

    def meet(self, ids: Keys, keys: Keys) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return which of some documents are new and which were changed; they are met from now on."""
        if not len(self._ids):
            return np.ones(len(ids), dtype=np.bool_), np.zeros(len(ids), dtype=np.bool_)
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        there = self._ids[places] == ids
        self._met[places[there]] = True
        return ~there, there & (self._keys[places] != keys)

    def left(self, store: Store) -> list[str]:
        """Return the ids of those that were not met."""
        missing = self._ids[~self._met]
        names: list[str] = []
        for batch in store.batches("id") if len(missing) else ():
            listed = batch["id"].to_pylist()
            names += [name for name, gone in zip(listed, np.isin(hashes(listed), missing), strict=True) if gone]
        return names


def hashes(texts: Sequence[str]) -> Keys:
    """Return a number for each text."""
    return np.array([text_key(text) for text in texts], dtype=np.uint64)
