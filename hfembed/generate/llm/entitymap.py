"""Entity maps: what a document names and how it hangs together, each word of it taken from the document."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from hfembed.generate.llm.desk import Desk, Unit, stands_in
from hfembed.generate.llm.messages import Ask, UnusableError
from hfembed.generate.llm.shapes import Entity, Listing, Relation, closed_object
from hfembed.generate.query import Query
from hfembed.recipe import LlmTask, QueryKind

ENTITIES, RELATIONS = Listing("entities", Entity), Listing("relations", Relation)
SCHEMA = closed_object(
    {name: listing.schema()["properties"][name] for name, listing in (("entities", ENTITIES), ("relations", RELATIONS))}
)
ASKED_FOR = "?"


@dataclass(frozen=True)
class EntityMap:
    """Entities and relations in the order of the answer."""

    entities: list[Entity]
    relations: list[Relation]

    def text(self) -> str:
        """Return the map on one line: entities first, then one `head | relation | tail` after the other."""
        names = ", ".join(entity.name for entity in self.entities)
        return "; ".join([names, *(show_relation(relation) for relation in self.relations)])


def write_map(desk: Desk, unit: Unit, count: int) -> Generator[Ask, Any, list[Query]]:
    """Return the map of a document as a query, and as more of them its relations with what is asked for left open."""
    task = LlmTask.ENTITY_MAP.value
    messages = desk.prompts.messages(task, {"documents": desk.passages(unit), "count": count})
    answer = yield Ask(task, messages, SCHEMA, read_map)
    if answer is None:
        return []
    source = desk.source(unit)
    good = verbatim(desk, answer, source)
    desk.seen["maps"] += 1
    if not good.entities:
        desk.seen["empty_maps"] += 1
        desk.dropped["empty_map"] += 1
        return []
    desk.seen["map_words"] += len(good.text().split())
    desk.seen["source_words"] += len(source.split())
    asked = [show_relation(relation, asked_for="tail") for relation in good.relations]
    texts = [good.text(), *asked][:count]
    return [desk.query(unit, text, QueryKind.ENTITY_MAP) for text in texts]


def read_map(value: Any, cut: bool) -> EntityMap:
    """Return the map in an answer; of one that was cut off the last entry is not whole."""
    if not isinstance(value, dict):
        raise UnusableError("wrong_form")
    relations = value.get("relations") or []
    entities, _ = ENTITIES.read(value, cut and not relations)
    related, _ = RELATIONS.read({"relations": relations}, cut)
    return EntityMap(entities, related)


def verbatim(desk: Desk, found: EntityMap, source: str) -> EntityMap:
    """Return the map without what does not stand in the source, letter by letter, and without what hangs on it."""
    entities = [entity for entity in found.entities if stands_in(entity.name, source)]
    desk.seen["entities"] += len(found.entities)
    desk.seen["entities_in_source"] += len(entities)
    desk.dropped["entity_not_in_source"] += len(found.entities) - len(entities)
    names = {entity.name for entity in entities}
    relations = [relation for relation in found.relations if {relation.head, relation.tail} <= names]
    desk.dropped["relation_of_no_entities"] += len(found.relations) - len(relations)
    return EntityMap(entities, relations)


def show_relation(relation: Relation, asked_for: str = "") -> str:
    """Return `head | relation | tail`, with a question mark for the part that is asked for."""
    parts = {"head": relation.head, "relation": relation.relation, "tail": relation.tail}
    return " | ".join(ASKED_FOR if name == asked_for else text for name, text in parts.items())
