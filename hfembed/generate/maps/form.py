"""The form of a map: entities first, then one relation per line; what is written so can be read back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Between entities, between the parts of a relation, and at the end of a line: some tokenizers do not see line ends.
BETWEEN, PARTS, LINE = "; ", " | ", ";\n"
RESERVED = frozenset(";|")
# What a query asks for.
ASKED_FOR = "?"

Relation = tuple[str, str, str]


@dataclass(frozen=True)
class MapForm:
    """Entities and relations (head, relation, tail), each in the order of the text."""

    entities: tuple[str, ...]
    relations: tuple[Relation, ...] = ()

    @classmethod
    def of(cls, entities: Iterable[str], relations: Iterable[Iterable[str]] = ()) -> MapForm:
        """Return a map of all that can be written in this form: each entity once, and relations between these."""
        names = dict.fromkeys(name for entity in entities if _fits(name := _line(entity)))
        ends = {*names, ASKED_FOR}
        triples = [tuple(_line(part) for part in relation) for relation in relations]
        kept = dict.fromkeys((h, r, t) for h, r, t in triples if {h, t} <= ends and h != t and _fits(r))
        return cls(tuple(names), tuple(kept))

    def text(self) -> str:
        """Return the map as text; nothing where it names nothing."""
        return LINE.join([BETWEEN.join(self.entities), *map(PARTS.join, self.relations)]) if self.entities else ""

    @classmethod
    def parse(cls, text: str) -> MapForm:
        """Read a map back."""
        first, *lines = text.split(LINE)
        relations = [(head, relation, tail) for head, relation, tail in (line.split(PARTS) for line in lines)]
        return cls(tuple(first.split(BETWEEN)) if first else (), tuple(relations))


def _line(text: str) -> str:
    return " ".join(text.split())


def _fits(text: str) -> bool:
    return bool(text) and not RESERVED & set(text)
