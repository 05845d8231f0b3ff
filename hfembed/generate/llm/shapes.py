"""The forms of answers: what the server is told to keep to, and what is checked when an answer comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from hfembed.generate.llm.messages import UnusableError

# Rules that not every server takes; they are checked here all the same.
LEFT_OUT = {"minLength", "minimum", "maximum", "minItems", "maxItems", "title", "default", "description"}


def _one_line(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else value


def _label(value: Any) -> Any:
    return "_".join(value.lower().replace("-", " ").split()) if isinstance(value, str) else value


Line = Annotated[str, Field(min_length=1), BeforeValidator(_one_line)]
Label = Annotated[str, BeforeValidator(_label)]
Score = Annotated[float, Field(ge=1, le=10)]


class Wording(BaseModel):
    """A query, and nothing else."""

    query: Line


class Hop(BaseModel):
    """One step to an answer."""

    number: int
    documents: list[int]
    summary: str


class Question(BaseModel):
    """A question with its answer, and what it takes to find it."""

    question: Line
    answer: Line
    complexity: int
    query_type: Label
    reasoning_type: Label
    documents: list[int]
    hops: list[Hop]


class Definition(BaseModel):
    """A term that a document defines, asked for; and texts on its neighbours."""

    term: Line
    definition: Line
    query: Line
    negatives: list[Line]


class Triple(BaseModel):
    """A relation that a document states, asked for; and statements that are not true of it."""

    head: Line
    relation: Line
    tail: Line
    query: Line
    negatives: list[Line]


class Artifact(BaseModel):
    """Something a document offers to be asked about."""

    kind: Label
    text: Line
    description: Line
    importance: Label


class Attribute(BaseModel):
    """A property of an entity."""

    name: Line
    value: Line


class Entity(BaseModel):
    """Something a document names."""

    name: Line
    type: Line
    attributes: list[Attribute] = []


class Relation(BaseModel):
    """How two entities of a document hang together."""

    head: Line
    relation: Line
    tail: Line
    qualifier: str = ""


class QueryMap(BaseModel):
    """What a query names, how that hangs together, and what it asks for."""

    number: int
    entities: list[Line]
    relations: list[Relation] = []


class Verdict(BaseModel):
    """What the judge thinks of one query. wrong_negatives: numbers of negatives that do answer it."""

    number: int
    relevance: Score
    accuracy: Score
    context_support: Score
    clarity: Score
    overall: Score
    wrong_negatives: list[int] = []
    comment: str = ""


@dataclass(frozen=True)
class Listing:
    """An answer that is one list, item by item; a bad item does not spoil the others."""

    name: str
    item: type[BaseModel]

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema that a server can hold a model to."""
        return closed_object({self.name: {"type": "array", "items": plain_schema(self.item)}})

    def read(self, value: Any, cut: bool, exactly: int | None = None) -> tuple[list[Any], int]:
        """Return the good items and how many were not; the last item of an answer that was cut off is not whole.

        exactly: there must be this many, numbered from 1, each once.
        """
        raw = value if isinstance(value, list) else value.get(self.name)
        if not isinstance(raw, list):
            raise UnusableError("wrong_form")
        whole = raw[:-1] if cut else raw
        good = [item for entry in whole if (item := self._item(entry)) is not None]
        if exactly is not None and sorted(getattr(item, "number", 0) for item in good) != list(range(1, exactly + 1)):
            raise UnusableError("wrong_count")
        if raw and not good:
            raise UnusableError("cut_off" if cut else "wrong_form")
        return good, len(raw) - len(good)

    def _item(self, entry: Any) -> BaseModel | None:
        try:
            return self.item.model_validate(entry)
        except ValidationError:
            return None


def plain_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON schema without references and closed to other keys."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(definitions[node["$ref"].rsplit("/", 1)[1]])
        if node.get("type") == "object":
            return closed_object({name: plain(entry) for name, entry in node["properties"].items()})
        return {key: plain(entry) for key, entry in node.items() if key not in LEFT_OUT}

    found: dict[str, Any] = plain({key: entry for key, entry in schema.items() if key != "$defs"})
    return found


def closed_object(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with these properties, all of them, and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
