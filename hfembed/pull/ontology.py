"""Ontologies: every term becomes a row with its name and definition; what else is known of it goes beside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from hfembed.ontology import Relation, Term, phrase
from hfembed.pull.files import Problem, UnusableFileError

OBO_PURL = "http://purl.obolibrary.org/obo/"
# Where addresses begin that a file leaves without a beginning.
HERE = "http://local.invalid/"
CURIE = re.compile(r"([A-Za-z][\w.-]*?)_(\d+)")
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
# A name made of the end of an address says something only where that is words.
CODE = re.compile(r".*\d{3}.*|[A-Za-z]{0,2}\d*")


class LeftOut(StrEnum):
    """Why a term, or an ontology that is named, gives no document."""

    OBSOLETE = "obsolete_term"
    UNDEFINED = "term_without_definition"
    IMPORT = "import_not_fetched"


@dataclass(frozen=True, order=True)
class Wording:
    """One of the texts that say the same of a term. rank: how good its kind is, from 0. foreign: not in English."""

    foreign: bool
    rank: int
    text: str = field(compare=False)


@dataclass
class Node:
    """What is known of one id: a term, or a relation. links: id of the relation, or its words, and id of the other."""

    is_term: bool = False
    is_obsolete: bool = False
    labels: list[Wording] = field(default_factory=list)
    definitions: list[Wording] = field(default_factory=list)
    comments: list[Wording] = field(default_factory=list)
    synonyms: list[Wording] = field(default_factory=list)
    links: dict[tuple[str, str], None] = field(default_factory=dict)

    def add(self, other: Node) -> None:
        """Take over what another file knows of the same id."""
        self.is_term |= other.is_term
        self.is_obsolete |= other.is_obsolete
        for name in ("labels", "definitions", "comments", "synonyms"):
            getattr(self, name).extend(getattr(other, name))
        self.links |= other.links


@dataclass
class Graph:
    """All that files say, by short ids. ontologies: the addresses of those that were read; imports: that they name."""

    nodes: dict[str, Node] = field(default_factory=dict)
    ontologies: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)

    def node(self, identity: str) -> Node:
        """Return what is known of an id, to be added to."""
        return self.nodes.setdefault(identity, Node())

    def add(self, other: Graph) -> None:
        """Take over what another file says; terms are the same by their ids."""
        for identity, node in other.nodes.items():
            known = self.nodes.setdefault(identity, node)
            if known is not node:
                known.add(node)
        self.ontologies |= other.ontologies
        self.imports |= other.imports

    def missing(self) -> list[str]:
        """Return the imports that no file holds; nothing is ever fetched."""
        return sorted(self.imports - self.ontologies)


@dataclass(frozen=True)
class Entry:
    """A term as a document, and what is known beside. left_out: why it gives none."""

    id: str
    title: str = ""
    text: str = ""
    term: Term | None = None
    left_out: LeftOut | None = None


def read_entries(graph: Graph, undefined: bool) -> Iterator[Entry]:
    """Yield every term; one without a definition is left out, or says its relations where `undefined` asks for that."""
    for identity in graph.missing():
        yield Entry(identity, left_out=LeftOut.IMPORT)
    terms = {identity: node for identity, node in graph.nodes.items() if node.is_term}
    # Remarks are definitions only where nobody wrote any: elsewhere they are notes of editors.
    remarked = not any(node.definitions for node in terms.values())
    for identity, node in terms.items():
        if node.is_obsolete:
            yield Entry(identity, left_out=LeftOut.OBSOLETE)
            continue
        definition = _best(node.definitions or (node.comments if remarked else []))
        term = _term(graph, identity, node, defined=bool(definition))
        text = definition or (_say_relations(term) if undefined else "")
        yield Entry(identity, term.label, text, term, None if text else LeftOut.UNDEFINED)


def short_id(identity: str) -> str:
    """Return the id of a term as the OBO world writes it, "GO:0008150"; others stay addresses."""
    match = CURIE.fullmatch(identity.removeprefix(OBO_PURL)) if identity.startswith(OBO_PURL) else None
    return f"{match[1]}:{match[2]}" if match else identity.removeprefix(HERE)


def words_of_id(identity: str) -> str:
    """Return the words that the end of an id is made of; nothing where it is a code."""
    end = re.split(r"[#/:]", identity.rstrip("#/"))[-1]
    if CODE.fullmatch(end):
        return ""
    return " ".join(HUMP.sub(" ", end).replace("_", " ").replace("-", " ").split())


def broken(detail: str) -> UnusableFileError:
    """Return the error of a file that is no ontology that can be read."""
    return UnusableFileError(Problem.BROKEN, detail)


def _term(graph: Graph, identity: str, node: Node, *, defined: bool) -> Term:
    label = _label(node, identity)
    # In the language of the label: what the others say, another corpus is about.
    foreign = min((wording.foreign for wording in node.labels), default=False)
    names = [wording.text for wording in sorted(node.synonyms) if wording.foreign == foreign]
    distinct = {name.casefold(): name for name in reversed(names)}
    distinct.pop(label.casefold(), None)
    synonyms = tuple(name for name in dict.fromkeys(names) if distinct.get(name.casefold()) == name)
    relations = dict.fromkeys(
        Relation(words, tail, known)
        for relation, tail in node.links
        if tail != identity and (words := _relation_words(graph, relation)) and (known := _known_label(graph, tail))
    )
    return Term(identity, label, defined, synonyms, tuple(relations))


def _known_label(graph: Graph, identity: str) -> str:
    """Return what the other end of a relation is called; nothing where it is obsolete or has no name."""
    node = graph.nodes.get(identity, Node())
    return "" if node.is_obsolete else _label(node, identity)


def _label(node: Node, identity: str) -> str:
    return _best(node.labels) or words_of_id(identity)


def _relation_words(graph: Graph, relation: str) -> str:
    """Return a relation in words; an id that is a code and has no label says nothing."""
    words = _label(graph.nodes.get(relation, Node()), relation)
    return " ".join(HUMP.sub(" ", words).replace("_", " ").lower().split())


def _say_relations(term: Term) -> str:
    said = (f"{phrase(relation.relation)} {relation.label}." for relation in term.relations)
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in said)


def _best(wordings: list[Wording]) -> str:
    return min(wordings).text if wordings else ""
