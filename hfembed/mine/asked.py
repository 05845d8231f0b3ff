"""Asked: the queries of the training pairs, each once, and the documents that never are their negatives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hfembed.errors import StageError
from hfembed.mine.texts import Texts
from hfembed.ranking import Pairs, Rows, Vectors

GIVEN = "negatives"


@dataclass(frozen=True)
class Asked:
    """The queries by number. Pairs name a query by its number and a document by its row.

    rows: the query and the answer of every row of the training pairs. positives: the same, each once.
    excluded: the answers and all documents of their groups, or all but chunks of their own source document.
    given: negatives that came with the pairs.
    """

    texts: list[str]
    rows: Pairs
    positives: Pairs
    excluded: Pairs
    given: dict[int, list[str]]

    def __len__(self) -> int:
        """Return how many queries there are."""
        return len(self.texts)

    @classmethod
    def read(cls, pairs: Path, documents: Texts, *, same_document: bool = False) -> Asked:
        """Read the pairs that generate wrote; rows of one query are taken together.

        same_document: whether other chunks of a document that answers may be negatives.
        """
        names = set(pq.read_schema(pairs).names)
        table = pq.read_table(pairs, columns=["query", "positive_id", *({GIVEN} & names)])
        answers = documents.rows_of(table["positive_id"].combine_chunks())
        if answers.null_count:
            raise StageError(
                f"{answers.null_count:,} training pairs name a document that the corpus does not hold.",
                "The corpus changed after the pairs were made: repeat with --rerun generate.",
            )
        coded = table["query"].combine_chunks().dictionary_encode()
        rows = Pairs(coded.indices.to_numpy().astype(np.int64), answers.to_numpy().astype(np.int64))
        positives = unique_pairs(*rows)
        excluded = with_groups(positives, documents.groups)
        if same_document:
            excluded = without_chunks(excluded, positives, documents.sources)
        given = _given(rows.queries, table[GIVEN].to_pylist()) if GIVEN in names else {}
        return cls(coded.dictionary.to_pylist(), rows, positives, excluded, given)

    def excluded_of(self, query: int) -> Rows:
        """Return the documents that are never negatives of one query."""
        start, stop = np.searchsorted(self.excluded.queries, [query, query + 1])
        return self.excluded.documents[start:stop]

    def excluded_between(self, start: int, stop: int) -> Pairs:
        """Return what is excluded of a block of queries, numbered from its start."""
        first, last = np.searchsorted(self.excluded.queries, [start, stop])
        return Pairs(self.excluded.queries[first:last] - start, self.excluded.documents[first:last])


def unique_pairs(queries: Rows, documents: Rows) -> Pairs:
    """Return pairs in order of query and row, each once."""
    both = np.unique(np.stack([queries, documents], axis=1), axis=0)
    return Pairs(np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1]))


def with_groups(positives: Pairs, groups: Rows) -> Pairs:
    """Return the pairs of every query with all documents of its positives' groups."""
    members = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=1)
    starts = np.cumsum(sizes) - sizes
    wanted = unique_pairs(positives.queries, groups[positives.documents])
    lengths = sizes[wanted.documents]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    documents = members[np.repeat(starts[wanted.documents], lengths) + within]
    return unique_pairs(np.repeat(wanted.queries, lengths), documents)


def without_chunks(excluded: Pairs, positives: Pairs, sources: Rows) -> Pairs:
    """Return the pairs but for chunks that answer nothing, of a document of which another chunk answers."""
    count = len(sources)
    answers = np.isin(excluded.queries * count + excluded.documents, positives.queries * count + positives.documents)
    beside = np.isin(
        excluded.queries * count + sources[excluded.documents], positives.queries * count + sources[positives.documents]
    )
    kept = answers | ~beside
    return Pairs(excluded.queries[kept], excluded.documents[kept])


def lowest_positives(asked: Asked, scores: Vectors) -> Vectors:
    """Return the score of the worst positive of every query, from the scores of the rows of the pairs."""
    lowest: Vectors = np.full(len(asked), np.inf, dtype=np.float32)
    np.minimum.at(lowest, asked.rows.queries, scores)
    return lowest


def _given(numbers: Rows, lists: list[list[str] | None]) -> dict[int, list[str]]:
    given: dict[int, dict[str, None]] = {}
    for number, texts in zip(numbers.tolist(), lists, strict=True):
        for text in texts or ():
            if text and text.strip():
                given.setdefault(number, {})[text.strip()] = None
    return {number: list(texts) for number, texts in given.items()}
