"""Ontology: what the terms of a corpus are called besides, and how they hang together; kept by pull, asked by generate."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# The relations from a term to its parent: of classes, of individuals, and as thesauri say it.
KIND_OF, INSTANCE_OF, NARROWER = "is a", "instance of", "has broader concept"
PARENTS = (KIND_OF, INSTANCE_OF, NARROWER)
# How relations read that do not read as they are named.
PHRASES = {KIND_OF: "is a kind of", INSTANCE_OF: "is an instance of", "related": "is related to"}
VERB = re.compile(r"\w+s")
TERMS = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("defined", pa.bool_()),
        ("synonyms", pa.list_(pa.string())),
        ("relations", pa.list_(pa.struct([(name, pa.string()) for name in ("relation", "tail", "label")]))),
    ]
)
WRITE_ROWS = 4_096


@dataclass(frozen=True)
class Relation:
    """What a term is to another one: the relation in words, and the id and label of the other."""

    relation: str
    tail: str
    label: str


@dataclass(frozen=True)
class Term:
    """A term: what it is called, best name first, and its relations. defined: it has a definition of its own."""

    id: str
    label: str
    defined: bool
    synonyms: tuple[str, ...]
    relations: tuple[Relation, ...]

    def parents(self) -> list[str]:
        """Return the ids of the terms that this one is a kind of."""
        return [relation.tail for relation in self.relations if relation.relation in PARENTS]


def state(head: str, relation: str, tail: str) -> str:
    """Return a relation of two terms as a sentence without its full stop: "Purkinje cell is a kind of neuron"."""
    return f"{head} {phrase(relation)} {tail}"


def phrase(relation: str) -> str:
    """Return a relation as it stands between two terms; one without a verb gets one: "part of" is "is part of"."""
    if relation in PHRASES:
        return PHRASES[relation]
    first = relation.split(" ", 1)[0]
    return relation if VERB.fullmatch(first) else f"is {relation}"


def write_terms(file: Path, terms: Iterable[Term]) -> None:
    """Write the terms of a corpus beside its documents."""
    rows = [
        {
            "id": term.id, "label": term.label, "defined": term.defined, "synonyms": list(term.synonyms),
            "relations": [vars(relation) for relation in term.relations],
        }
        for term in terms
    ]  # fmt: skip
    with pq.ParquetWriter(file, TERMS) as writer:
        for start in range(0, len(rows), WRITE_ROWS):
            writer.write_table(pa.Table.from_pylist(rows[start : start + WRITE_ROWS], schema=TERMS))


def read_terms(file: Path) -> list[Term]:
    """Return the terms of a corpus; none where it is no ontology."""
    if not file.is_file():
        return []
    return [
        Term(
            row["id"], row["label"], row["defined"], tuple(row["synonyms"]),
            tuple(Relation(**relation) for relation in row["relations"]),
        )
        for row in pq.read_table(file, schema=TERMS).to_pylist()
    ]  # fmt: skip
