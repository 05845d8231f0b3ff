"""Heads in an index: which of a model's heads it holds, and documents read token by token for it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hfembed.embed import Embedder, Precision, Role, Vectors
from hfembed.errors import InputError, RunMismatchError, choices
from hfembed.events import Reporter
from hfembed.heads import has_heads, headed, read_weights
from hfembed.heads.search import read_texts
from hfembed.hub import ModelSource
from hfembed.index.asking import HeadSearch
from hfembed.index.manifest import IndexManifest
from hfembed.index.postings import write_postings
from hfembed.index.sources import read_blocks
from hfembed.index.store import TEXT, TOKENS, WEIGHTS, Store
from hfembed.index.tokens import TokenFiles, with_places
from hfembed.recipe import Head

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Texts whose tokens are counted to tell how much place their vectors will take.
COUNTED = 200
# Documents that are read token by token, and written, at a time: their vectors of tokens are a file.
READ_TOGETHER = 512


def read_parts(text: str) -> tuple[Head, ...]:
    """Read which heads an index is to hold, as `dense,sparse`."""
    names = [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in list(Head)]:
        raise InputError(f"'{unknown[0]}' is no part of an index; there are {choices(Head)}.", "--parts dense,sparse")
    return tuple(map(Head, names)) or (Head.DENSE,)


def choose_heads(
    source: ModelSource, wanted: Collection[Head] | None, before: IndexManifest | None, report: Reporter
) -> dict[Head, float]:
    """Return the heads that an index is to hold, with their weights; nothing where it holds the one vector alone.

    wanted: those that were asked for; without, all that the model has, or those that the index has already.
    """
    there = read_weights(source.path) if has_heads(source.path) else {Head.DENSE: 1.0}
    if lacking := [head for head in wanted or () if head not in there]:
        raise InputError(
            f"The model '{source.name}' has no head '{lacking[0]}'; it has {choices(there)}.",
            "Leave it out of --parts, or train a model that has it: hfembed run --preset neuromap",
        )
    chosen = {head: weight for head, weight in there.items() if wanted is None or head in {Head.DENSE, *wanted}}
    chosen = chosen if len(chosen) > 1 else {}
    if before is None or before.heads.keys() == chosen.keys():
        return chosen
    held = choices(before.heads or [Head.DENSE])
    if wanted is not None:
        raise RunMismatchError(
            f"The index holds {held}, and --parts asks for {choices(chosen or [Head.DENSE])}.",
            "Leave --parts out to keep what it holds, or build it anew with --force.",
        )
    report.note(f"the index goes on to hold {held}; with --force it is built anew with {choices(there)}")
    return {Head(head): weight for head, weight in before.heads.items()}


class HeadReader:
    """Reads documents token by token: their vectors, and columns for all else."""

    def __init__(self, source: ModelSource, embedder: Embedder, index: Path, heads: Mapping[Head, float]) -> None:
        """Read with some heads of a model; the vectors of tokens become files of the index."""
        self._source, self._embedder, self._heads = source, embedder, heads
        self._files = TokenFiles(index)

    @cached_property
    def model(self) -> SentenceTransformer:
        """The model with its heads."""
        return headed(self._embedder.model, self._source.path, self._heads)

    def read(self, rows: pa.Table) -> tuple[pa.Table, Vectors]:
        """Return documents with what the heads say of them, and their vectors."""
        texts = rows[TEXT].to_pylist()
        number = self._files.next()
        precision = Precision(self._embedder.precision(texts)["precision"])
        read = read_texts(self.model, texts, Role.DOCUMENT, precision, self._files.path(number))
        if read.weights is not None:
            ends = pa.array(read.weights.indptr.astype(np.int32))
            for name, values in (
                (TOKENS, read.weights.indices.astype(np.int32)),
                (WEIGHTS, read.weights.data.astype(np.float32)),
            ):
                rows = rows.append_column(name, pa.ListArray.from_arrays(ends, pa.array(values)))
        if read.tokens is not None:
            rows = with_places(rows, number, read.starts, read.ends)
        else:
            self._files.path(number).unlink()
        return rows, read.vectors

    def settle(self, store: Store) -> None:
        """Remove the vectors of tokens that no document has any more."""
        if self._width:
            self._files.settle(store, self._width)

    def search(self, store: Store) -> HeadSearch:
        """Make of what the settled table holds what a search reads, and return such a search."""
        if Head.SPARSE in self._heads:
            write_postings(store, store.folder)
        sample = [text for batch in itertools.islice(store.batches(TEXT), 1) for text in batch[TEXT].to_pylist()]
        precision = Precision(self._embedder.precision(sample)["precision"])
        return HeadSearch(store, store.folder, self._heads, self.model, precision)

    def note_size(self, file: Path, documents: int, report: Reporter) -> None:
        """Say beforehand how much place the vectors of tokens will take."""
        if not self._width or not documents:
            return
        texts = next(read_blocks(file))[TEXT].to_pylist()
        sample = texts[:: max(1, len(texts) // COUNTED)]
        cut = self.model.tokenizer(sample, truncation=True, max_length=self.model.max_seq_length)["input_ids"]
        tokens = documents * sum(map(len, cut)) / len(sample)
        size = tokens * self._width * np.float16().nbytes / 1e6
        smaller = ",".join(head for head in self._heads if head is not Head.MULTI_VECTOR)
        report.note(f"vectors of tokens will take about {size:,.1f} MB; --parts {smaller} leaves them out")

    @property
    def _width(self) -> int:
        from hfembed.heads.module import heads_of

        heads = heads_of(self.model)
        return 0 if heads is None or heads.colbert_linear is None else int(heads.colbert_linear.out_features)
