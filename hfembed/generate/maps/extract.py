"""Maps by rules: numbers, dates, names and the telling terms of a corpus, joined by what stands between them.

Everything is copied letter by letter from the text, and the same text gives the same map.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from hfembed.generate.maps.form import ASKED_FOR, MapForm, Relation
from hfembed.generate.vocabulary import Vocabulary
from hfembed.text import NAME, STOPWORDS, WORD, split_sentences

MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
DATE = re.compile(
    rf"\b(?:\d{{1,2}}\.? {MONTH}(?: \d{{4}})?|{MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}})?|{MONTH} \d{{4}})\b"
)
# With its unit, or what it counts.
NUMBER = re.compile(r"(?<![\w-])[$€£]?\d+(?:[.,:/\u2013-]\d+)*(?![\w-])(?:\s?(?:%|°[CF]?)| (?P<counted>[^\W\d_]+)\b)?")
MAX_NAME_WORDS, MAX_TERM_WORDS, MIN_TERM_LETTERS = 5, 3, 3
# A relation takes what stands between two entities; of much, the telling words.
MAX_BETWEEN, MAX_TELLING = 4, 3
BESIDE = "with"
ARTICLES = frozenset(("a", "an", "the"))
# Of the length of a map so much is for entities, the rest for relations; for terms never less than the other.
ENTITY_SHARE, LEAST_TERMS = 0.5, 0.2
QUESTION_WORDS = frozenset(["what", "which", "who", "whom", "whose", "when", "where", "why", "how"])


class Sort(IntEnum):
    """What an entity is; what comes first is never left out for the sake of length but terms."""

    DATE = 0
    NUMBER = 1
    NAME = 2
    TERM = 3


@dataclass(frozen=True)
class Span:
    """An entity in a sentence."""

    start: int
    end: int
    sort: Sort
    text: str
    weight: float = 0.0

    def meets(self, others: Iterable[Span]) -> bool:
        """Tell whether it shares a letter with others."""
        return any(self.start < other.end and other.start < self.end for other in others)


def extract_map(title: str, body: str, vocabulary: Vocabulary, length: float) -> MapForm:
    """Return the map of a document, with about `length` words for each of its words."""
    sentences = [*split_sentences(title), *split_sentences(body)]
    found = [[span for span in spans_of(sentence, vocabulary) if span.weight > 0] for sentence in sentences]
    room = round(length * sum(len(sentence.split()) for sentence in sentences))
    names = _fitting([span for spans in found for span in spans], room)
    chosen = [[span for span in spans if span.text in names] for spans in found]
    entities = [span.text for spans in chosen for span in spans]
    room -= len(MapForm.of(entities).text().split())
    joined = [
        (span.text, between(sentence, span, following), following.text)
        for sentence, spans in zip(sentences, chosen, strict=True)
        for span, following in pairwise(spans)
    ]
    return MapForm.of(entities, _shortened(joined, room))


def extract_query(text: str, vocabulary: Vocabulary) -> MapForm:
    """Return the map of a query: all that it names, and what it asks for left open."""
    sentence = " ".join(text.split())
    spans = spans_of(sentence, vocabulary)
    relations = [(one.text, between(sentence, one, other), other.text) for one, other in pairwise(spans)]
    words = WORD.findall(sentence)
    if spans and words and (sentence.endswith("?") or words[0].lower() in QUESTION_WORDS):
        asked = sentence[: spans[0].start].strip() or words[0]
        relations.append((spans[0].text, asked.lower(), ASKED_FOR))
    return MapForm.of([span.text for span in spans], relations)


def spans_of(sentence: str, vocabulary: Vocabulary) -> list[Span]:
    """Return the entities of a sentence in order; no two of them share a letter."""
    found = [Span(*match.span(), Sort.DATE, match[0], 1.0) for match in DATE.finditer(sentence)]
    for match in NUMBER.finditer(sentence):
        counts = match["counted"] and match["counted"].lower() not in STOPWORDS
        end = match.end() if counts or not match["counted"] else match.start("counted") - 1
        number = Span(match.start(), end, Sort.NUMBER, sentence[match.start() : end], 1.0)
        found += [] if number.meets(found) else [number]
    words = [match for match in WORD.finditer(sentence) if not Span(*match.span(), Sort.TERM, "").meets(found)]
    names = [span for run in _runs(sentence, words, _is_name) if (span := _name(sentence, run)) is not None]
    rest = [match for match in words if not Span(*match.span(), Sort.TERM, "").meets(names)]
    terms = [_term(sentence, run, vocabulary) for run in _runs(sentence, rest, _is_content)]
    return sorted([*found, *names, *filter(None, terms)], key=lambda span: span.start)


def between(sentence: str, span: Span, following: Span) -> str:
    """Return how two entities of a sentence hang together, in the words that stand between them."""
    words = [word for word in WORD.findall(sentence[span.end : following.start]) if word.lower() not in ARTICLES]
    if len(words) > MAX_BETWEEN:
        words = [word for word in words if word.lower() not in STOPWORDS][:MAX_TELLING]
    return " ".join(words) or BESIDE


def _fitting(spans: Sequence[Span], room: int) -> set[str]:
    """Return the entities of a map: all but terms, and the most telling of these while there is room."""
    names = {span.text for span in spans if span.sort is not Sort.TERM}
    left = max(ENTITY_SHARE * room - sum(len(name.split()) for name in names), LEAST_TERMS * room)
    terms = {span.text: span.weight for span in spans if span.sort is Sort.TERM and span.text not in names}
    for text in sorted(terms, key=lambda text: (-terms[text], text)):
        left -= len(text.split())
        if left < 0 and names:
            break
        names.add(text)
    return names


def _shortened(relations: list[Relation], room: int) -> list[Relation]:
    """Return as many relations as there is room for, in order; those that say something go first."""
    kept: set[Relation] = set()
    for relation in sorted(dict.fromkeys(relations), key=lambda relation: relation[1] == BESIDE):
        cost = len(" | ".join(relation).split())
        if cost <= room:
            room -= cost
            kept.add(relation)
    return [relation for relation in relations if relation in kept]


def _runs(sentence: str, words: Sequence[re.Match[str]], belongs: Callable[[str], bool]) -> list[list[re.Match[str]]]:
    """Return the runs of words that belong together and have nothing but a space between them."""
    runs: list[list[re.Match[str]]] = []
    for match in words:
        if not belongs(match[0]):
            continue
        if runs and sentence[runs[-1][-1].end() : match.start()] == " ":
            runs[-1].append(match)
        else:
            runs.append([match])
    return runs


def _is_name(word: str) -> bool:
    return word.lower() not in STOPWORDS and (word[0].isupper() or NAME.fullmatch(word) is not None)


def _is_content(word: str) -> bool:
    return word.lower() not in STOPWORDS and not word.isdigit()


def _name(sentence: str, run: list[re.Match[str]]) -> Span | None:
    """Return a run of capitalised words and codes as a name; a word that is capital because it comes first is none."""
    if len(run) == 1 and run[0].start() == 0 and not NAME.fullmatch(run[0][0]):
        return None
    start, end = run[0].start(), run[min(len(run), MAX_NAME_WORDS) - 1].end()
    return Span(start, end, Sort.NAME, sentence[start:end], 1.0)


def _term(sentence: str, run: list[re.Match[str]], vocabulary: Vocabulary) -> Span | None:
    """Return the end of a run of words, where its head stands, as a term of the corpus."""
    part = run[-MAX_TERM_WORDS:]
    start, end = part[0].start(), part[-1].end()
    if end - start < MIN_TERM_LETTERS:
        return None
    weights = [vocabulary.weight(match[0].lower()) for match in part]
    return Span(start, end, Sort.TERM, sentence[start:end], sum(weights) / len(weights))
