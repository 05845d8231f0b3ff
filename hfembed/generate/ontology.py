"""Queries from what an ontology knows beside its texts: other names, definitions without the name, relations.

Each comes with texts that look right and are not: those of the term's siblings, which are kinds of the same thing.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice

from hfembed.corpus import Documents
from hfembed.generate.extractive import MAX_SENTENCE_WORDS, MIN_SENTENCE_WORDS
from hfembed.generate.query import Query, Split
from hfembed.ontology import PARENTS, Relation, Term, phrase, read_terms, state
from hfembed.recipe import QueryKind
from hfembed.run import LAYOUT
from hfembed.stage import Job
from hfembed.text import STOPWORDS, words_of

NEGATIVES = 5
# They are drawn from this many siblings, of the smallest families that the term belongs to.
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

    def leads(self, start: str, relation: str, end: str) -> bool:
        """Tell whether a relation leads from one term to another in steps: a part of a part is a part of the whole."""
        seen, ahead = {start}, [start]
        while ahead:
            term = self.terms.get(ahead.pop())
            for found in term.relations if term else ():
                if found.tail not in seen and (found.relation == relation or found.relation in PARENTS):
                    if found.tail == end:
                        return True
                    seen.add(found.tail)
                    ahead.append(found.tail)
        return False

    def siblings(self, identity: str, draw: random.Random) -> list[str]:
        """Return some documents that are kinds of the same thing, drawn, those of the smallest family first."""
        found: dict[str, None] = {}
        for family in sorted((self.children.get(parent, []) for parent in self.terms[identity].parents()), key=len):
            if len(found) <= NEAREST:
                found |= dict.fromkeys(draw.sample(family, min(NEAREST + 1, len(family))))
        return [other for other in found if other != identity][:NEAREST]


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
        self._facts, self._bodies, self._splits = facts, documents.bodies, splits
        self._embedded = documents.texts()  # as negatives; each stands in many queries, and in memory once
        self._counts, self._seed = counts, seed

    def write(self, term: Term, row: int) -> list[Query]:
        """Return the queries that the document of a term answers."""
        draw = random.Random(f"{self._seed}:ontology:{term.id}")
        near = self._facts.siblings(term.id, draw)
        wrong = self._texts(near[:NEGATIVES])
        texts = {QueryKind.TERM: list(term.synonyms), QueryKind.DEFINITION: self._definitions(term, row)}
        made = [
            Query(text, kind, (row,), self._splits[row], negatives=wrong)
            for kind, found in texts.items()
            for text in found[: self._counts.get(kind, 0)]
        ]
        return made + self._triples(term, near, draw)

    def _definitions(self, term: Term, row: int) -> list[str]:
        """Return the definition without the term's names: somebody describes what they lack the word for."""
        if not term.defined or not term.label:
            return []
        said = self._bodies[row]
        for name in sorted(term.synonyms, key=len, reverse=True):
            said = re.sub(rf"\b{re.escape(name)}\b", " ", said, flags=re.IGNORECASE)
        own = frozenset(words_of(term.label)) - STOPWORDS
        words = [word for word in said.split() if not own & set(words_of(word))]
        return [" ".join(words[:MAX_SENTENCE_WORDS])] if len(words) >= MIN_SENTENCE_WORDS else []

    def _triples(self, term: Term, near: Sequence[str], draw: random.Random) -> list[Query]:
        # Where the relations are all the text there is, a question for them is a copy of it.
        count = self._counts.get(QueryKind.TRIPLE, 0) if term.defined else 0
        asked = [question for question in self._questions(term) if self._split(question) is not None] if count else []
        return [self._triple(question, near) for question in draw.sample(asked, min(count, len(asked)))]

    def _questions(self, term: Term) -> Iterator[Asked]:
        """Yield the questions that a term answers: for what others are related to, and for who is related to others."""
        facts = self._facts
        for head, relation in facts.stated.get(term.id, []):
            tails, name = facts.tails(head, relation.relation), facts.terms[head].label
            if name and len(tails) <= MOST_ANSWERS:
                text = f"{state(name, relation.relation, 'what')}?"
                is_right = partial(facts.leads, head, relation.relation)
                yield Asked(text, tuple(tails), head, _stated(name, relation), is_right)
        for relation in term.relations:
            heads = facts.heads[relation.relation, relation.tail]
            if len(heads) <= MOST_ANSWERS:
                text = f"What {phrase(relation.relation)} {relation.label}?"
                stated = _stated(term.label or term.id, relation)
                is_right = partial(facts.leads, relation=relation.relation, end=relation.tail)
                yield Asked(text, tuple(heads), relation.tail, stated, is_right)

    def _split(self, asked: Asked) -> Split | None:
        """Return the split of a question; none where the documents it tells of stand in several."""
        told = [self._facts.rows[name] for name in (*asked.answers, asked.other) if name in self._facts.rows]
        found = {self._splits[row] for row in told}
        return found.pop() if len(found) == 1 else None

    def _triple(self, asked: Asked, near: Sequence[str]) -> Query:
        rows = tuple(sorted(self._facts.rows[name] for name in asked.answers if name in self._facts.rows))
        wrong = (other for other in near if other not in asked.answers and not asked.is_right(other))
        return Query(
            asked.text, QueryKind.TRIPLE, rows, self._splits[rows[0]], negatives=self._texts(islice(wrong, NEGATIVES)),
            details={"triple": asked.stated},
        )  # fmt: skip

    def _texts(self, terms: Iterable[str]) -> tuple[str, ...]:
        return tuple(self._embedded[self._facts.rows[term]] for term in terms)


def _stated(head: str, relation: Relation) -> str:
    return f"{head} | {relation.relation} | {relation.label}"
