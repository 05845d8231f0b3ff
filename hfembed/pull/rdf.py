"""RDF: Turtle and RDF/XML, statement by statement, with what OWL and SKOS mean by them. Nothing is fetched."""

from __future__ import annotations

import mmap
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pyoxigraph import Literal, NamedNode, RdfFormat, parse

from hfembed.ontology import INSTANCE_OF, KIND_OF, NARROWER
from hfembed.pull.ontology import HERE, Graph, Wording, broken, short_id

OWL, RDF, SKOS = (
    "http://www.w3.org/2002/07/owl#",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://www.w3.org/2004/02/skos/core#",
)
# What the language itself is made of: no term is a kind of these.
LANGUAGE = (OWL, RDF, SKOS, "http://www.w3.org/2000/01/rdf-schema#", "http://www.w3.org/2001/XMLSchema#")
# By the end of their address, because every ontology has its own beginning; the best first.
LABELS = {"prefLabel": 0, "label": 1}
DEFINITIONS = {"IAO_0000115": 0, "definition": 1, "externallySourcedDefinition": 2, "description": 3}
SYNONYMS = {
    "hasExactSynonym": 0, "synonym": 0, "altLabel": 0, "IAO_0000118": 0, "hasNarrowSynonym": 1, "hasRelatedSynonym": 2,
    "hasBroadSynonym": 3,
}  # fmt: skip
TERM_TYPES = frozenset({"Class", "Concept", "NamedIndividual"})
LINKS = {"broader": NARROWER, "broaderTransitive": NARROWER, "related": "related"}

ENTITY = re.compile(rb"<!ENTITY")
# An entity that stands for an address is short and holds no other entity; more of that can fill any memory.
HARMLESS = re.compile(rb'<!ENTITY\s+[\w.-]+\s+"[^"&%]{0,200}"\s*>')
HEAD = 65_536
XML = re.compile(rb"\s*<(\?xml|!DOCTYPE|!--|rdf:RDF|Ontology)")
OTHER_SYNTAX = re.compile(rb"^\s*(Prefix\s*\(|Ontology\s*\(|Prefix:|Ontology:)|<Ontology\s", re.MULTILINE)


def read_rdf(file: Path) -> Graph:
    """Return what an ontology in Turtle or RDF/XML says; the suffix .owl stands for either."""
    is_xml = _look_at(file)
    if is_xml:
        _refuse_entities(file)
    form = RdfFormat.RDF_XML if is_xml else RdfFormat.TURTLE
    statements = _Statements()
    try:
        for quad in parse(path=file, format=form, base_iri=HERE + quote(file.name), lenient=True):
            statements.add(quad.subject, quad.predicate.value, quad.object)
    except (SyntaxError, ValueError) as error:
        raise broken(str(getattr(error, "msg", error))) from error
    graph = statements.graph()
    if not any(node.is_term for node in graph.nodes.values()):
        raise broken("it declares no class, concept or individual")
    return graph


def _look_at(file: Path) -> bool:
    """Tell whether a file is XML; refuse the forms of OWL that are no RDF."""
    with file.open("rb") as handle:
        head = handle.read(HEAD).removeprefix(b"\xef\xbb\xbf")
    if OTHER_SYNTAX.search(head) and b"rdf:RDF" not in head:
        raise broken("it is OWL in another form than RDF/XML or Turtle; Protégé or ROBOT can save it as Turtle")
    return XML.match(head) is not None


def _refuse_entities(file: Path) -> None:
    if not file.stat().st_size:
        return
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in ENTITY.finditer(content):
            if not HARMLESS.match(content, found.start()):
                raise broken("it declares an entity that is not a short plain text in double quotes")


@dataclass
class _Statements:
    """Statements of one file, sorted by what they are about; nodes without a name are resolved when all are read."""

    found: Graph = field(default_factory=Graph)
    properties: set[str] = field(default_factory=set)
    types: list[tuple[str, str]] = field(default_factory=list)
    parents: list[tuple[str, Any]] = field(default_factory=list)
    links: list[tuple[str, str, str]] = field(default_factory=list)
    parts: dict[Any, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, subject: Any, predicate: str, value: Any) -> None:
        """Sort in one statement."""
        name = _end(predicate)
        if not isinstance(subject, NamedNode):
            self.parts[subject][name] = value
        elif isinstance(value, Literal):
            self._add_text(subject.value, name, value)
        elif name == "subClassOf" or (name == "equivalentClass" and not isinstance(value, NamedNode)):
            self.parents.append((subject.value, value))
        elif isinstance(value, NamedNode):
            self._add_link(subject.value, predicate, name, value.value)

    def graph(self) -> Graph:
        """Return what all statements say together."""
        for subject, of in self.types:
            if of.startswith(LANGUAGE):
                self.found.node(short_id(subject)).is_term |= _end(of) in TERM_TYPES
            else:
                self._link(subject, INSTANCE_OF, of)
        for subject, value in self.parents:
            for relation, tail in self._said_by(value, set()):
                self._link(subject, relation, tail)
        for subject, relation, tail in self.links:
            if relation in self.properties:
                self._link(subject, relation, tail)
        return self.found

    def _add_text(self, subject: str, name: str, literal: Literal) -> None:
        node = self.found.node(short_id(subject))
        text = literal.value.strip()
        language = literal.language or ""
        foreign = bool(language) and language.lower().partition("-")[0] != "en"
        line = " ".join(text.split())
        if not text:
            return
        if name in LABELS:
            node.labels.append(Wording(foreign, LABELS[name], line))
        elif name in DEFINITIONS:
            node.definitions.append(Wording(foreign, DEFINITIONS[name], text))
        elif name in SYNONYMS:
            node.synonyms.append(Wording(foreign, SYNONYMS[name], line))
        elif name == "comment":
            node.comments.append(Wording(foreign, 0, text))
        elif name == "deprecated":
            node.is_obsolete |= text.lower() in ("true", "1")

    def _add_link(self, subject: str, predicate: str, name: str, value: str) -> None:
        if predicate == f"{RDF}type":
            self.types.append((subject, value))
            if value == f"{OWL}Ontology":
                self.found.ontologies.add(subject)
            elif value == f"{OWL}ObjectProperty":
                self.properties.add(subject)
        elif predicate == f"{OWL}imports":
            self.found.imports.add(value)
        elif predicate == f"{OWL}versionIRI":
            self.found.ontologies.add(value)
        elif predicate.startswith(SKOS):
            if name in LINKS:
                self._link(subject, LINKS[name], value)
            elif name == "narrower":
                self._link(value, NARROWER, subject)
        elif not predicate.startswith(LANGUAGE):
            self.links.append((subject, predicate, value))

    def _link(self, subject: str, relation: str, tail: str) -> None:
        if not tail.startswith(LANGUAGE):
            self.found.node(short_id(subject)).links[short_id(relation), short_id(tail)] = None

    def _said_by(self, value: Any, seen: set[Any]) -> Iterator[tuple[str, str]]:
        """Yield the relations that a class expression states: kinds, what some of it is, and all of an intersection."""
        if isinstance(value, NamedNode):
            yield KIND_OF, value.value
            return
        if value in seen:
            return
        seen.add(value)
        part = self.parts.get(value, {})
        relation, other = part.get("onProperty"), part.get("someValuesFrom", part.get("hasValue"))
        if isinstance(relation, NamedNode) and isinstance(other, NamedNode):
            yield relation.value, other.value
        rest = part.get("intersectionOf")
        while rest is not None and rest not in seen:
            seen.add(rest)
            item = self.parts.get(rest, {})
            if "first" in item:
                yield from self._said_by(item["first"], seen)
            rest = item.get("rest")


@lru_cache(maxsize=4_096)
def _end(address: str) -> str:
    """Return the last part of an address."""
    return re.split(r"[#/]", address)[-1]
