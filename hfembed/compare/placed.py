"""Placed: documents that several contenders know, with what each makes of them, for a map; and where indexes differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfembed.compare.contender import Contender
from hfembed.compare.corpus import OnDisk, Searched
from hfembed.compare.library import Library
from hfembed.ranking import Vectors


def document_vectors(library: Library, contender: Contender, corpus: Searched | OnDisk, ids: Sequence[str]) -> Vectors:
    """Return the vectors of documents under a contender's model; all of them are there."""
    opened = library.index_of(contender, corpus)
    if opened is not None:
        numbers = opened.numbers(ids)
        return opened.vectors([numbers[name] for name in ids])
    assert isinstance(corpus, Searched)
    rows = corpus.numbers(ids)
    return np.asarray(library.encoded(str(contender.model), corpus).vectors[[rows[name] for name in ids]])


def shared(
    library: Library, contenders: Sequence[Contender], corpus: Searched | OnDisk, ids: Sequence[str]
) -> list[str]:
    """Return those of some documents that all contenders know: an index of its own may lack some."""
    sources = [library.readable(corpus), *(library.index(one.index) for one in contenders if one.index is not None)]
    known = [source.numbers(ids) for source in sources]
    return [name for name in ids if all(name in numbers for numbers in known)]


def differences(library: Library, contenders: Sequence[Contender], corpus: Searched | OnDisk) -> list[str]:
    """Say which of the contenders answer from an index that does not hold as many documents as the corpus."""
    sizes = [(one.name, len(library.index(one.index))) for one in contenders if one.index is not None]
    return [
        f"The index of {name} holds {size:,} documents, and the corpus {len(corpus):,}: is it one of the same?"
        for name, size in sizes
        if size != len(corpus)
    ]
