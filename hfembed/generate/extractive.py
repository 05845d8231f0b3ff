"""Queries cut from the documents themselves: no model, no key, the same ones every time.

People ask in many ways: a title, a few words, a name, a question, a description whose word they forgot.
Each kind of query here stands for one of them. Which kind the people of a corpus will use is not known,
and a model that learns one kind alone learns its style; so each document gives queries of every kind that
it has something to offer for, and `weigh_queries` lets each of them count alike.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hfembed.corpus import join_title
from hfembed.generate.statements import Statement, questions_of, read_statement
from hfembed.generate.vocabulary import Vocabulary
from hfembed.recipe import QueryKind
from hfembed.text import STOPWORDS, split_phrases, split_sentences, words_of

MIN_SENTENCE_WORDS = 5
MAX_SENTENCE_WORDS = 40
# From one word to five: some people type a name, others half a sentence.
KEYWORD_COUNTS = (3, 2, 5, 1)
KEYWORD_POOL = 10
PHRASE_POOL = 6
# A paraphrase keeps this share of a sentence's telling words, in another order.
PARAPHRASE_SHARES = (0.3, 0.6)
MAX_TERM_WORDS = 6
# Questions are made from what a document says first; that is what it is about.
ASKED_SENTENCES = 12
# Two passages of a document: the one that asks is the shorter, as people's questions are.
MIN_SPAN_WORDS, MAX_SPAN_WORDS, MAX_ANSWER_WORDS = 8, 48, 200
MOST_SPANS = 20
# A sentence that is asked for stays in its document so often, that its words are worth learning too.
CLOZE_KEPT = 0.1
# A title that a document opens with, as a line or a heading of its own.
HEADING_ENDS = r"\s*(?:\n|[.:|\u2013\u2014-]+\s+|$)"
HEADING_PATH = " > "
SIDE = re.compile(r"(?P<side>\w[\w -]{2,40}?) (?:of|for|in) (?:an? |the )?(?P<subject>.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Passage:
    """One document, and what its queries are made of; each part is worked out when first asked for."""

    identity: str
    title: str
    body: str
    vocabulary: Vocabulary
    seed: int

    def draw(self, kind: QueryKind) -> random.Random:
        """Return the chance of one kind: it depends on nothing but seed, document and kind."""
        name = f"{self.seed}:{kind}:{self.identity}".encode("utf-8", "surrogatepass")
        return random.Random(int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big"))

    @cached_property
    def sentences(self) -> list[str]:
        """The sentences that are long enough to say something."""
        return [text for text in split_sentences(self.body) if len(text.split()) >= MIN_SENTENCE_WORDS]

    @cached_property
    def words(self) -> list[str]:
        """The words that could be searched for, in order."""
        found = words_of(join_title(self.title, self.body))
        return [word for word in found if word not in STOPWORDS and not word.isdigit()]

    @cached_property
    def telling(self) -> list[str]:
        """The words by how well they tell this document from the others."""
        counts = Counter(self.words)
        weights = {word: count * self.vocabulary.weight(word) for word, count in counts.items()}
        return sorted((word for word, weight in weights.items() if weight > 0), key=lambda word: (-weights[word], word))

    @cached_property
    def phrases(self) -> list[str]:
        """Runs of words between stop words, and names, the most telling first."""
        weight = self.vocabulary.weight
        scores: dict[str, float] = {}
        for phrase in split_phrases(self.body):
            words = words_of(phrase)
            scores[phrase] = scores.get(phrase, 0.0) + sum(map(weight, words)) / len(words)
        return sorted((phrase for phrase, score in scores.items() if score > 0), key=lambda p: (-scores[p], p))

    @cached_property
    def statement(self) -> Statement | None:
        """The first sentence that says what something is."""
        return next(filter(None, map(read_statement, self.sentences)), None)

    @cached_property
    def untitled(self) -> str:
        """The body without the title, where it opens with it."""
        if not self.title:
            return self.body
        rest = re.sub(rf"\A\s*{re.escape(self.title)}{HEADING_ENDS}", "", self.body, count=1, flags=re.IGNORECASE)
        return rest or self.body

    @cached_property
    def spans(self) -> list[tuple[str, str]]:
        """Pairs of passages from either side of a place drawn at random, so that no word stands in both."""
        draw, words = self.draw(QueryKind.SPAN), self.body.split()
        return [_two_spans(words, draw) for _ in range(MOST_SPANS)] if len(words) >= 2 * MIN_SPAN_WORDS else []

    @cached_property
    def clozes(self) -> list[tuple[str, str]]:
        """Sentences, each with what the document says beside it; none where there is a title, which asks better."""
        if self.title or len(self.sentences) < 2:
            return []
        draw, every = self.draw(QueryKind.CLOZE), split_sentences(self.body)
        made = []
        for sentence in draw.sample(self.sentences, len(self.sentences)):
            rest = " ".join(other for other in every if other != sentence)
            made.append((self.part(sentence, draw), self.body if draw.random() < CLOZE_KEPT or not rest else rest))
        return made

    def in_order(self, words: Sequence[str]) -> str:
        """Return words as one query, in the order in which they first stand in the document."""
        places = {word: place for place, word in reversed(list(enumerate(self.words)))}
        return " ".join(sorted(words, key=places.__getitem__))

    def part(self, sentence: str, draw: random.Random) -> str:
        """Return a sentence as a query: cut where long, and in half where it is all the document says."""
        words = sentence.split()
        if len(self.sentences) > 1:
            return " ".join(words[:MAX_SENTENCE_WORDS])
        length = min(MAX_SENTENCE_WORDS, max(MIN_SENTENCE_WORDS - 1, len(words) // 2))
        start = draw.randrange(len(words) - length + 1)
        return " ".join(words[start : start + length])


def write_queries(passage: Passage, kinds: Mapping[QueryKind, int]) -> list[tuple[QueryKind, str]]:
    """Return the queries of one document, at most as many of each kind as asked for, each text once."""
    made: dict[str, QueryKind] = {}
    for kind, writer in WRITERS.items():
        count = kinds.get(kind, 0)
        if count:
            for text in writer(passage, count)[:count]:
                made.setdefault(text, kind)
    return [(kind, text) for text, kind in made.items()]


def passage_for(passage: Passage, kind: QueryKind, text: str) -> str | None:
    """Return the part of a document that a query is paired with in training; None where that is all of it."""
    if kind is QueryKind.TITLE:
        return passage.untitled
    parts = {QueryKind.SPAN: passage.spans, QueryKind.CLOZE: passage.clozes}.get(kind, [])
    return next((part for asked, part in parts if asked == text), None)


def _two_spans(words: list[str], draw: random.Random) -> tuple[str, str]:
    place = draw.randint(MIN_SPAN_WORDS, len(words) - MIN_SPAN_WORDS)
    asking, answering = draw.sample([words[:place], words[place:]], 2)
    return _window(asking, MAX_SPAN_WORDS, draw), _window(answering, MAX_ANSWER_WORDS, draw)


def _window(words: list[str], most: int, draw: random.Random) -> str:
    length = draw.randint(MIN_SPAN_WORDS, min(most, len(words)))
    start = draw.randrange(len(words) - length + 1)
    return " ".join(words[start : start + length])


def _titles(passage: Passage, count: int) -> list[str]:
    return [passage.title] if passage.title else []


def _leads(passage: Passage, count: int) -> list[str]:
    return [passage.part(text, passage.draw(QueryKind.LEAD)) for text in passage.sentences[:1]]


def _sentences(passage: Passage, count: int) -> list[str]:
    draw = passage.draw(QueryKind.SENTENCE)
    return [passage.part(text, draw) for text in draw.sample(passage.sentences, min(count, len(passage.sentences)))]


def _paraphrases(passage: Passage, count: int) -> list[str]:
    """Drop words of a sentence and change their order, so that meaning is left and wording is not."""
    draw = passage.draw(QueryKind.PARAPHRASE)
    made = []
    for sentence in draw.sample(passage.sentences, min(count, len(passage.sentences))):
        words = list(dict.fromkeys(word for word in words_of(sentence) if word not in STOPWORDS))
        if len(words) > 2:
            share = draw.uniform(*PARAPHRASE_SHARES)
            made.append(" ".join(draw.sample(words, max(2, min(len(words) - 1, round(share * len(words)))))))
    return made


def _keywords(passage: Passage, count: int) -> list[str]:
    draw, pool = passage.draw(QueryKind.KEYWORD), passage.telling[:KEYWORD_POOL]
    made = []
    for number in range(count):
        size = KEYWORD_COUNTS[number % len(KEYWORD_COUNTS)]
        if size <= len(pool):
            # The most telling words for the short queries, a draw of telling words for the long ones.
            made.append(passage.in_order(pool[:size] if size < max(KEYWORD_COUNTS) else draw.sample(pool, size)))
    return made


def _phrases(passage: Passage, count: int) -> list[str]:
    pool = passage.phrases[:PHRASE_POOL]
    return passage.draw(QueryKind.PHRASE).sample(pool, min(count, len(pool)))


def _terms(passage: Passage, count: int) -> list[str]:
    statement = passage.statement
    return [statement.term] if statement and len(statement.term.split()) <= MAX_TERM_WORDS else []


def _definitions(passage: Passage, count: int) -> list[str]:
    """Give what is said of a term without the term: somebody describes what they lack the word for."""
    statement = passage.statement
    if statement is None:
        return []
    words = [word for word in statement.said.split() if word.strip(".,;:()").lower() not in statement.words]
    return [" ".join(words[:MAX_SENTENCE_WORDS])] if len(words) >= MIN_SENTENCE_WORDS else []


def _questions(passage: Passage, count: int) -> list[str]:
    draw = passage.draw(QueryKind.QUESTION)
    asked = list(
        dict.fromkeys(text for sentence in passage.sentences[:ASKED_SENTENCES] for text in questions_of(sentence))
    )
    # What the document opens with is what it is about; the others are drawn.
    return asked[:1] + draw.sample(asked[1:], min(count - 1, len(asked) - 1)) if asked else []


def _aspects(passage: Passage, count: int) -> list[str]:
    """Ask for one side of the document's subject: a heading, "treatment for X", or what many documents open with."""
    draw = passage.draw(QueryKind.ASPECT)
    path = [part for part in passage.title.split(HEADING_PATH) if part]
    opening = passage.sentences[0] if passage.sentences else ""
    if len(path) > 1:
        subject, sides = path[0], path[:0:-1]
    elif passage.statement and (match := SIDE.fullmatch(passage.statement.term)):
        subject, sides = match["subject"], [match["side"].lower()]
    else:
        named = passage.statement.term if passage.statement else None
        subject = named or next((phrase for phrase in passage.phrases if phrase in opening), "")
        own, often = set(words_of(subject)), passage.vocabulary.opens_many
        sides = [word for word in dict.fromkeys(words_of(opening)) if word not in own and often(word)]
        sides = draw.sample(sides, min(count, len(sides)))
    return [draw.choice((f"{side} of {subject}", f"{subject} {side}")) for side in sides if subject]


def _spans(passage: Passage, count: int) -> list[str]:
    return [asked for asked, _ in passage.spans[:count]]


def _clozes(passage: Passage, count: int) -> list[str]:
    return [asked for asked, _ in passage.clozes[:count]]


WRITERS: dict[QueryKind, Callable[[Passage, int], list[str]]] = {
    QueryKind.TITLE: _titles,
    QueryKind.TERM: _terms,
    QueryKind.QUESTION: _questions,
    QueryKind.DEFINITION: _definitions,
    QueryKind.ASPECT: _aspects,
    QueryKind.LEAD: _leads,
    QueryKind.SENTENCE: _sentences,
    QueryKind.PARAPHRASE: _paraphrases,
    QueryKind.PHRASE: _phrases,
    QueryKind.KEYWORD: _keywords,
    QueryKind.SPAN: _spans,
    QueryKind.CLOZE: _clozes,
}
