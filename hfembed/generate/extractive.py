"""Queries cut from the documents themselves: no model, no key, the same ones every time."""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from unicodedata import category

from bm25s.stopwords import STOPWORDS_EN_PLUS

from hfembed.corpus import join_title
from hfembed.recipe import QueryKind

# Vowel signs and accents that stand as characters of their own belong to the word they are in.
MARKS = "".join(chr(code) for code in (*range(0x300, 0x2000), *range(0xA800, 0xAC00)) if category(chr(code))[0] == "M")
WORD = re.compile(rf"[^\W_](?:[\w{MARKS}'\u2019-]*[\w{MARKS}])?")
# Where a sentence may end; it does unless a small letter follows, as after an abbreviation.
SENTENCE_END = re.compile(r"(?<=[.!?\u2026\u0964])[\"')\]\u00bb\u201d]*\s+|(?<=[\u3002\uff01\uff1f])\s*|\n{2,}")
OPENING = "\"'([\u00ab\u201c"
MIN_SENTENCE_WORDS = 5
MAX_SENTENCE_WORDS = 40
KEYWORD_COUNTS = (2, 3, 5)
KEYWORD_POOL = 10
STOPWORDS = frozenset(STOPWORDS_EN_PLUS)
# A word in more than this share of the documents tells none of them apart.
COMMON_SHARE = 0.2


class DocumentFrequencies:
    """In how many documents each word stands."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Count the words of every text once."""
        self._counts: Counter[str] = Counter()
        self._documents = 0
        for text in texts:
            self._documents += 1
            self._counts.update(set(words_of(text)))

    def weight(self, word: str) -> float:
        """Return how telling a word is; nothing for one that stands in many documents."""
        count = self._counts[word]
        if count > max(2, COMMON_SHARE * self._documents):
            return 0.0
        return math.log((1 + self._documents) / (1 + count)) + 1.0


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, in order."""
    return [word.lower() for word in WORD.findall(text)]


def write_queries(
    identity: str, title: str, body: str, kinds: Mapping[QueryKind, int], frequencies: DocumentFrequencies, seed: int
) -> list[tuple[QueryKind, str]]:
    """Return the queries of one document, at most as many of each kind as asked for.

    The draw depends on the seed and the document alone, so documents can be done in any order.
    """
    draw = random.Random(int.from_bytes(hashlib.blake2b(f"{seed}:{identity}".encode(), digest_size=8).digest(), "big"))
    made: list[tuple[QueryKind, str]] = []
    if kinds.get(QueryKind.TITLE) and title:
        made.append((QueryKind.TITLE, title))
    made += [(QueryKind.SENTENCE, text) for text in _sentences(body, kinds.get(QueryKind.SENTENCE, 0), draw)]
    text = join_title(title, body)
    made += [(QueryKind.KEYWORD, text) for text in _keywords(text, kinds.get(QueryKind.KEYWORD, 0), frequencies, draw)]
    return made


def split_sentences(text: str) -> list[str]:
    """Split a text at sentence ends and blank lines."""
    sentences, start = [], 0
    for end in SENTENCE_END.finditer(text):
        goes_on = text[end.end() : end.end() + 2].lstrip(OPENING)[:1].islower()
        if not goes_on or "\n\n" in end.group():
            sentences.append(text[start : end.start()])
            start = end.end()
    sentences.append(text[start:])
    return [" ".join(sentence.split()) for sentence in sentences if sentence.strip()]


def _sentences(body: str, count: int, draw: random.Random) -> list[str]:
    sentences = [text for text in split_sentences(body) if len(text.split()) >= MIN_SENTENCE_WORDS]
    chosen = draw.sample(sentences, min(count, len(sentences)))
    if count and len(sentences) == 1:  # the whole document would be its own query: take a part of it
        chosen = [_part(sentences[0].split(), draw)]
    return [" ".join(text.split()[:MAX_SENTENCE_WORDS]) for text in chosen]


def _part(words: list[str], draw: random.Random) -> str:
    length = max(MIN_SENTENCE_WORDS - 1, len(words) // 2)
    start = draw.randrange(len(words) - length + 1)
    return " ".join(words[start : start + length])


def _keywords(text: str, count: int, frequencies: DocumentFrequencies, draw: random.Random) -> list[str]:
    found = [word for word in words_of(text) if word not in STOPWORDS and not word.isdigit()]
    weights = {word: occurrences * frequencies.weight(word) for word, occurrences in Counter(found).items()}
    ranked = sorted((word for word in weights if weights[word] > 0), key=lambda word: (-weights[word], word))
    pool, position = ranked[:KEYWORD_POOL], {word: place for place, word in reversed(list(enumerate(found)))}
    made = []
    for number in range(count):
        size = KEYWORD_COUNTS[number % len(KEYWORD_COUNTS)]
        if size > len(pool):
            continue
        # The most telling words for the short queries, a draw of telling words for the long ones.
        chosen = pool[:size] if size < max(KEYWORD_COUNTS) else draw.sample(pool, size)
        made.append(" ".join(sorted(chosen, key=position.__getitem__)))
    return made
