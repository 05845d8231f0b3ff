"""OBO: stanzas of terms, read line by line. The format is lines of `tag: value`, and files in the wild bend its rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hfembed.ontology import INSTANCE_OF, KIND_OF
from hfembed.pull.ontology import OBO_PURL, Graph, Node, Wording, broken

STANZA = re.compile(r"\[(\w+)\]")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*([A-Z]*)')
# What may follow a value: modifiers in braces, and a comment. Without a space before it, either is part of the value.
TRAILER = re.compile(r"(?:\s+\{[^{}]*=[^{}]*\})?(?:\s+!(?:\s.*)?)?$")
ESCAPED = re.compile(r"\\(.)")
ESCAPES = {"n": "\n", "t": "\t", "W": " "}
SCOPES = {"EXACT": 0, "NARROW": 1, "RELATED": 2, "BROAD": 3}
SYNONYM = re.compile(r"(?:(exact|narrow|related|broad)_)?synonym")
TERMS, RELATIONS, INSTANCES = "Term", "Typedef", "Instance"

Line = tuple[str, str]


def read_obo(file: Path) -> Graph:
    """Return what an OBO file says."""
    graph = Graph()
    stanza, node = "", Node()
    for tag, value in _lines(file):
        if not tag:
            stanza, node = value, Node()
        elif not stanza:
            _read_header(graph, tag, value)
        elif tag == "id":
            node = graph.node(_plain(value))
            node.is_term |= stanza in (TERMS, INSTANCES)
        else:
            _read_tag(node, tag, value)
    if not any(node.is_term for node in graph.nodes.values()):
        raise broken("it has no [Term] with an id")
    return graph


def _lines(file: Path) -> Iterator[Line]:
    """Yield tags and values; a stanza begins with an empty tag. A line that ends in a backslash goes on."""
    started = ""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for raw in lines:
            line = started + raw.strip()
            started = ""
            if line.endswith("\\") and not line.endswith("\\\\"):
                started = line[:-1]
            elif match := STANZA.fullmatch(line):
                yield "", match[1]
            elif line and not line.startswith("!"):
                tag, _, value = line.partition(":")
                yield tag.strip(), value.strip()


def _read_header(graph: Graph, tag: str, value: str) -> None:
    if tag == "ontology":
        graph.ontologies |= {_plain(value), *(f"{OBO_PURL}{_plain(value)}.{suffix}" for suffix in ("obo", "owl"))}
    elif tag == "import":
        graph.imports.add(_plain(value))


def _read_tag(node: Node, tag: str, value: str) -> None:
    if tag == "name":
        node.labels.append(Wording(False, 0, " ".join(_plain(value).split())))
    elif tag == "def" or SYNONYM.fullmatch(tag):
        _read_quoted(node, tag, value)
    elif tag == "comment":
        node.comments.append(Wording(False, 0, _plain(value)))
    elif tag == "is_obsolete":
        node.is_obsolete |= _plain(value).lower() == "true"
    elif tag in ("is_a", "relationship", "intersection_of", "instance_of"):
        _read_link(node, tag, _plain(value).split())


def _read_quoted(node: Node, tag: str, value: str) -> None:
    match = QUOTED.match(value)
    text = _unescape(match[1]).strip() if match else ""
    if match is None or not text:
        return
    if tag == "def":
        node.definitions.append(Wording(False, 0, text))
    else:  # before version 1.2 the scope stood in the tag
        scope = match[2] or tag.removesuffix("synonym").rstrip("_").upper()
        node.synonyms.append(Wording(False, SCOPES.get(scope, SCOPES["RELATED"]), " ".join(text.split())))


def _read_link(node: Node, tag: str, parts: list[str]) -> None:
    """Read the other end of a relation; what a term is the intersection of, it is a kind of."""
    if tag == "instance_of":
        parts = [INSTANCE_OF, *parts[:1]]
    if tag == "is_a" or (tag == "intersection_of" and len(parts) == 1):
        parts = [KIND_OF, *parts[:1]]
    if len(parts) >= 2:
        node.links[parts[0], parts[1]] = None


def _plain(value: str) -> str:
    return _unescape(TRAILER.sub("", value, count=1)).strip()


def _unescape(text: str) -> str:
    return ESCAPED.sub(lambda match: ESCAPES.get(match[1], match[1]), text)
