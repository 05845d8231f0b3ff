"""A query: its text, its kind, and the documents that answer it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from hfembed.recipe import QueryKind

# The writer of queries that are cut from the documents.
EXTRACTIVE = "extractive"


class Split(StrEnum):
    """What a document's queries are for."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


@dataclass(frozen=True)
class Query:
    """One query, the rows of the documents that answer it, and where it comes from.

    rows: all in one split. writer: who wrote it (`extractive`, `people`, or a model's id). negatives: texts that
    look right and are known not to answer. score: what a judge gave, out of ten. details: what else the
    writer knows, such as the reasoning type of a question, as short strings. passage: the part of its document that
    it is paired with in training, where that is not all of it.
    """

    text: str
    kind: QueryKind
    rows: tuple[int, ...]
    split: Split
    writer: str = EXTRACTIVE
    negatives: tuple[str, ...] = ()
    score: float | None = None
    details: dict[str, str] = field(default_factory=dict)
    passage: str | None = None
