"""Leakage: test queries and passages that training saw, literally or nearly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hfembed.errors import StageError
from hfembed.evaluate.collection import Collection
from hfembed.events import Reporter
from hfembed.text import WORD

Hashes = npt.NDArray[np.uint64]

# Texts are compared by the runs of this many words they share; shorter ones as a whole.
RUN = 13
# Above this share of common runs two texts are one.
ALIKE = 0.8
# With more leaked queries than this the split itself is wrong, and what is left of the test says nothing.
MAX_SHARE = 0.1
SHOWN = 60
FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Leakage:
    """Test queries that were left out: because training saw their words, or the passage that answers them."""

    queries: int
    passages: int
    left_out: int

    def to_json(self) -> dict[str, int]:
        """Return it for the report."""
        return asdict(self)


def refuse_leaked(collection: Collection, tables: Sequence[Path], report: Reporter) -> tuple[Collection, Leakage]:
    """Return the collection without queries that training saw, in `tables`; refuse a test with many of them."""
    seen = {column: list(read_distinct(tables, column)) for column in ("query", "positive")}
    names = list(collection.queries)
    asked = set(find_leaked([collection.queries[name] for name in names], seen["query"]))
    answers = sorted({document for relevant in collection.qrels.values() for document in relevant})
    shown = {answers[at] for at in find_leaked([collection.corpus[name] for name in answers], seen["positive"])}
    about = {name for name in names if shown & set(collection.qrels[name])}
    left_out = {name for at, name in enumerate(names) if at in asked} | about
    found = Leakage(queries=len(asked), passages=len(shown), left_out=len(left_out))
    if not left_out:
        return collection, found
    example = " ".join(collection.queries[min(left_out)].split())[:SHOWN]
    words = (
        f"Training saw {len(asked):,} of {len(names):,} test queries and {len(shown):,} of {len(answers):,} "
        f'passages that answer them (for instance "{example}")'
    )
    if len(left_out) > MAX_SHARE * len(names):
        raise StageError(
            f"{words}. A score on them would measure memory, so there is no report.",
            "Keep pull.near_duplicates and generate.ambiguous as they are by default, and: hfembed run ... --rerun pull",
        )
    report.warn(f"{words}: {len(left_out):,} queries are left out of the test.")
    return collection.without(left_out), found


def find_leaked(test: Sequence[str], train: Sequence[str]) -> list[int]:
    """Return which test texts stand in train: the same words, or nearly all runs of 13 words in common."""
    runs = [_runs(text) for text in test]
    sizes = np.array([len(found) for found in runs])
    if not sizes.sum():
        return []
    hashes = np.concatenate(runs)
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], np.repeat(np.arange(len(test)), sizes)[order]
    leaked = np.zeros(len(test), dtype=np.bool_)
    for text in train:
        own = _runs(text)
        first, last = np.searchsorted(hashes, own, "left"), np.searchsorted(hashes, own, "right")
        matched = [owners[low:high] for low, high in zip(first, last, strict=True) if high > low]
        if matched:
            common = np.bincount(np.concatenate(matched), minlength=len(test))
            leaked |= common > ALIKE * (sizes + len(own) - common)
    return [int(at) for at in np.flatnonzero(leaked & (sizes > 0))]


def normalise(text: str) -> list[str]:
    """Return the words of a text as they count for sameness."""
    return WORD.findall(text.casefold())


def _runs(text: str) -> Hashes:
    """Return the hashes of a text's distinct runs of words; a short text is one run."""
    words = np.array([hash(word) for word in normalise(text)], dtype=np.int64).view(np.uint64)
    if not len(words):
        return np.empty(0, dtype=np.uint64)
    length = min(RUN, len(words))
    found = np.full(len(words) - length + 1, np.uint64(length))
    for at in range(length):
        found = found * FACTOR + words[at : at + len(found)]
    return np.unique(found)


def read_distinct(tables: Sequence[Path], column: str) -> Iterator[str]:
    """Read the texts of a column of some tables, each once."""
    known: set[int] = set()
    for table in tables:
        with pq.ParquetFile(table) as rows:
            for batch in rows.iter_batches(columns=[column]):
                for text in batch.column(0).to_pylist():
                    if hash(text) not in known:
                        known.add(hash(text))
                        yield text
