"""Texts: what a corpus is like: its key terms, its thin topics and its lengths."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from bm25s.stopwords import STOPWORDS_EN_PLUS

WORD = re.compile(r"[^\W\d_](?:[\w'\u2019-]*[^\W_])?")
# Words that carry no topic, beyond those that BM25 leaves out.
FILLERS = {
    "also", "another", "called", "can", "cause", "caused", "causes", "commonly", "each", "every", "first", "four",
    "however", "include", "included", "includes", "including", "known", "like", "made", "make", "makes", "many", "may",
    "mean", "means", "more", "most", "much", "never", "number", "often", "one", "other", "others", "percent", "second",
    "such", "three", "time", "two", "type", "use", "used", "using", "usually", "well", "within", "without",
}  # fmt: skip
STOPWORDS = FILLERS | set(STOPWORDS_EN_PLUS)
# Enough documents to know a corpus by, few enough to take no time.
SAMPLE = 4_000
KEY_TERMS = 12
# A term that no more documents than these have is a thin topic, in a corpus large enough to have any.
THIN_TERMS = 6
THIN_DOCUMENTS = 4
THIN_FROM = 100
MIN_TERM_LETTERS = 3
MIN_TERM_DOCUMENTS = 3
# A word in more than this share of the documents says nothing about any of them.
COMMON_SHARE = 0.3
# Two words that belong together say more than either; so much more that they win over a somewhat rarer pair.
PAIR_WEIGHT = 1.5
WORD_BOUNDS = (16, 32, 64, 128, 256, 512, 1_024)


@dataclass(frozen=True)
class TextFacts:
    """What the documents are like. thin_terms: what hardly any of them are about."""

    documents: int
    median_words: int
    longest_words: int
    histogram: list[tuple[str, int]]
    key_terms: list[str]
    thin_terms: list[str]


def describe_texts(texts: Sequence[str]) -> TextFacts:
    """Describe documents; of large corpora the terms are looked for in an even sample."""
    sample = texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE]
    lengths = [len(text.split()) for text in texts]
    terms, thin = find_terms(sample)
    return TextFacts(
        documents=len(texts),
        median_words=round(median(lengths)),
        longest_words=max(lengths),
        histogram=histogram(lengths),
        key_terms=terms,
        # Of a sample it cannot be told how few of all documents are about something.
        thin_terms=thin if len(sample) == len(texts) else [],
    )


def find_terms(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return words and pairs of words that stand often in some documents and not in the others.

    The second list holds those that hardly any document has.
    """
    often, documents = Counter[str](), Counter[str]()
    for text in texts:
        words = [word.lower() for word in WORD.findall(text)]
        telling = [word if word not in STOPWORDS and len(word) >= MIN_TERM_LETTERS else "" for word in words]
        terms = [f"{first} {second}" for first, second in pairwise(telling) if first and second]
        terms += [word for word in telling if word]
        often.update(terms)
        documents.update(set(terms))

    def weight(term: str) -> float:
        rare = math.log(len(texts) / documents[term]) ** 1.5
        return float(often[term] * rare * (PAIR_WEIGHT if " " in term else 1))

    most = max(MIN_TERM_DOCUMENTS, COMMON_SHARE * len(texts))
    usable = [term for term, count in documents.items() if MIN_TERM_DOCUMENTS <= count <= most]
    ordered = sorted(usable, key=lambda term: (-weight(term), term))
    thin = [term for term in ordered if documents[term] <= THIN_DOCUMENTS] if len(texts) >= THIN_FROM else []
    return _first_apart(ordered, KEY_TERMS), _first_apart(thin, THIN_TERMS)


def _first_apart(terms: Sequence[str], count: int) -> list[str]:
    """Return the first terms that have no word in common."""
    chosen: list[str] = []
    for term in terms:
        if len(chosen) == count:
            break
        if not any(_overlap(term, other) for other in chosen):
            chosen.append(term)
    return chosen


def histogram(lengths: Iterable[int]) -> list[tuple[str, int]]:
    """Count lengths in bins that double, without empty bins at either end."""
    counts = Counter(sum(length >= bound for bound in WORD_BOUNDS) for length in lengths)
    names = [f"below {WORD_BOUNDS[0]}"]
    names += [f"{low:,} to {high - 1:,}" for low, high in pairwise(WORD_BOUNDS)]
    names += [f"{WORD_BOUNDS[-1]:,} and more"]
    return [(names[at], counts[at]) for at in range(min(counts), max(counts) + 1)]


def _overlap(term: str, other: str) -> bool:
    return any(
        first.startswith(second) or second.startswith(first) for first in term.split() for second in other.split()
    )
