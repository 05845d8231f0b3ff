"""Queries from what an ontology knows beside its texts: other names, definitions without the name, relations.

Each comes with texts that look right and are not: those of the term's siblings, which are kinds of the same thing.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from hfembed.corpus import Documents, join_title
from hfembed.generate.extractive import MAX_SENTENCE_WORDS, MIN_SENTENCE_WORDS
from hfembed.generate.query import Query, Split
from hfembed.ontology import PARENTS, Relation, Term, phrase, read_terms, state
from hfembed.recipe import QueryKind
from hfembed.run import LAYOUT
from hfembed.stage import Job
from hfembed.text import STOPWORDS, words_of

NEGATIVES = 5
# They are drawn from this many siblings, of the smallest families that a term belongs to.
NEAREST = 20
# A question that more terms answer is no question for any of them.
MOST_ANSWERS = 3

IsRight = Callable[[str], bool]


@dataclass(frozen=True)
class Facts:
    """The terms of a corpus by id, and the row of the document that each of them is, where it is one."""

    terms: dict[str, Term]
    rows: dict[str, int]

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The terms that are documents, by parent."""
        found: dict[str, list[str]] = defaultdict(list)
        for term in self.terms.values():
            for parent in term.parents() if term.id in self.rows else ():
                found[parent].append(term.id)
        return dict(found)

    @cached_property
    def heads(self) -> dict[tuple[str, str], list[str]]:
        """The terms that are in a relation to another one, by relation and the other's id."""
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        for term in self.terms.values():
            for relation in term.relations:
                found[relation.relation, relation.tail].append(term.id)
        return dict(found)

    @cached_property
    def stated(self) -> dict[str, list[tuple[str, Relation]]]:
        """What is stated about a term as the other end of a relation: by whom, and what."""
        found: dict[str, list[tuple[str, Relation]]] = defaultdict(list)
        for term in self.terms.values():
            for relation in term.relations:
                found[relation.tail].append((term.id, relation))
        return dict(found)

    def tails(self, head: str, relation: str) -> list[str]:
        """Return what a term has a relation to."""
        return [found.tail for found in self.terms[head].relations if found.relation == relation]

    def reached(self, start: str, relations: Iterable[str]) -> set[str]:
        """Return all terms that some relations lead to, step by step: what is part of a part is part of the whole."""
        wanted, seen, ahead = set(relations), {start}, [start]
        while ahead:
            term = self.terms.get(ahead.pop())
            following = {found.tail for found in term.relations if found.relation in wanted} - seen if term else set()
            seen |= following
            ahead += following
        return seen - {start}

    def ends(self, head: str, relation: Relation) -> IsRight:
        """Return what tells whether a term is what another one has a relation to, at whatever distance."""
        return lambda other: other in self.reached(head, (relation.relation, *PARENTS))

    def begins(self, relation: Relation) -> IsRight:
        """Return what tells whether a term has a relation to another one, at whatever distance."""
        return lambda other: relation.tail in self.reached(other, (relation.relation, *PARENTS))

    def siblings(self, identity: str) -> Iterator[str]:
        """Yield the documents that are kinds of the same thing, those of the smallest family first."""
        families = sorted((self.children.get(parent, []) for parent in self.terms[identity].parents()), key=len)
        yield from dict.fromkeys(other for family in families for other in family if other != identity)


@dataclass(frozen=True)
class Asked:
    """A question for one end of a relation: the terms that answer it, the other end, and the relation that states it.

    is_right: tells whether another term answers it too, because relations add up.
    """

    text: str
    answers: tuple[str, ...]
    other: str
    stated: str
    is_right: IsRight


def write_facts(job: Job, documents: Documents, rows: Sequence[int], splits: Sequence[Split]) -> list[Query]:
    """Return the queries of the documents in `rows` that are terms of an ontology; none for any other corpus."""
    terms = {term.id: term for term in read_terms(job.run.path(LAYOUT.terms))}
    if not terms:
        return []
    places: dict[str, int] = {}
    for row, identity in enumerate(documents.documents):  # of a definition that was cut, the first chunk
        places.setdefault(identity, row)
    facts = Facts(terms, {identity: row for identity, row in places.items() if identity in terms})
    wanted = set(rows)
    named = [(facts.terms[identity], row) for identity, row in facts.rows.items() if row in wanted]
    writer = Writer(facts, documents, splits, job.recipe.generate.ontology, job.recipe.seed)
    made = (query for term, row in job.report.each(named, "asking the ontology", len(named), "terms")
            for query in writer.write(term, row))  # fmt: skip
    return list({(query.text, query.rows): query for query in made}.values())


class Writer:
    """Writes the queries of one term after another."""

    def __init__(
        self, facts: Facts, documents: Documents, splits: Sequence[Split], counts: Mapping[QueryKind, int], seed: int
    ) -> None:
        """Write as many of each kind as `counts` says; the same ones for the same seed."""
        self._facts, self._documents, self._splits = facts, documents, splits
        self._counts, self._seed = counts, seed

    def write(self, term: Term, row: int) -> list[Query]:
        """Return the queries that the document of a term answers."""
        siblings = self._negatives(term.id, lambda other: False)
        texts = {QueryKind.TERM: list(term.synonyms), QueryKind.DEFINITION: self._definitions(term, row)}
        made = [
            Query(text, kind, (row,), self._splits[row], negatives=siblings)
            for kind, found in texts.items()
            for text in found[: self._counts.get(kind, 0)]
        ]
        return made + self._triples(term)

    def _definitions(self, term: Term, row: int) -> list[str]:
        """Return the definition without the term's names: somebody describes what they lack the word for."""
        if not term.defined or not term.label:
            return []
        said = self._documents.bodies[row]
        for name in sorted(term.synonyms, key=len, reverse=True):
            said = re.sub(rf"\b{re.escape(name)}\b", " ", said, flags=re.IGNORECASE)
        own = frozenset(words_of(term.label)) - STOPWORDS
        words = [word for word in said.split() if not own & set(words_of(word))]
        return [" ".join(words[:MAX_SENTENCE_WORDS])] if len(words) >= MIN_SENTENCE_WORDS else []

    def _triples(self, term: Term) -> list[Query]:
        # Where the relations are all the text there is, a question for them is a copy of it.
        count = self._counts.get(QueryKind.TRIPLE, 0) if term.defined else 0
        asked = [question for question in self._questions(term) if self._split(question) is not None] if count else []
        chosen = random.Random(f"{self._seed}:{QueryKind.TRIPLE}:{term.id}").sample(asked, min(count, len(asked)))
        return [self._triple(question, term.id) for question in chosen]

    def _questions(self, term: Term) -> Iterator[Asked]:
        """Yield the questions that a term answers: for what others are related to, and for who is related to others."""
        facts = self._facts
        for head, relation in facts.stated.get(term.id, []):
            tails, name = facts.tails(head, relation.relation), facts.terms[head].label
            if name and len(tails) <= MOST_ANSWERS:
                text = f"{state(name, relation.relation, 'what')}?"
                yield Asked(text, tuple(tails), head, _stated(name, relation), facts.ends(head, relation))
        for relation in term.relations:
            heads = facts.heads[relation.relation, relation.tail]
            if len(heads) <= MOST_ANSWERS:
                text = f"What {phrase(relation.relation)} {relation.label}?"
                stated = _stated(term.label or term.id, relation)
                yield Asked(text, tuple(heads), relation.tail, stated, facts.begins(relation))

    def _split(self, asked: Asked) -> Split | None:
        """Return the split of a question; none where the documents it tells of stand in several."""
        told = [self._facts.rows[name] for name in (*asked.answers, asked.other) if name in self._facts.rows]
        found = {self._splits[row] for row in told}
        return found.pop() if len(found) == 1 else None

    def _triple(self, asked: Asked, identity: str) -> Query:
        rows = tuple(sorted(self._facts.rows[name] for name in asked.answers if name in self._facts.rows))
        negatives = self._negatives(identity, lambda other: other in asked.answers or asked.is_right(other))
        return Query(
            asked.text, QueryKind.TRIPLE, rows, self._splits[rows[0]], negatives=negatives,
            details={"triple": asked.stated},
        )  # fmt: skip

    def _negatives(self, identity: str, is_right: IsRight) -> tuple[str, ...]:
        """Return texts of the term's siblings that are no answers."""
        near = islice(self._facts.siblings(identity), NEAREST)
        found = [self._facts.rows[other] for other in near if not is_right(other)]
        chosen = random.Random(f"{self._seed}:siblings:{identity}").sample(found, min(NEGATIVES, len(found)))
        columns = self._documents
        return tuple(join_title(columns.titles[row], columns.bodies[row]) for row in chosen)


def _stated(head: str, relation: Relation) -> str:
    return f"{head} | {relation.relation} | {relation.label}"
