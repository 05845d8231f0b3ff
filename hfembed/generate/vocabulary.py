"""In how many documents each word stands: what makes it telling, and what documents open with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from hfembed.text import STOPWORDS, WORD, words_of

# A word in more than this share of the documents tells none of them apart.
COMMON_SHARE = 0.2
# Words of an opening are looked for in this many characters.
OPENING_CHARS = 160
# A word that this many documents open with names a side of their subjects, such as "treatment".
OPENS_MANY = (0.01, 0.3)
MIN_OPENINGS = 3
# Words are counted in no more documents than this: their shares do not change any more.
MAX_COUNTED = 100_000


class Vocabulary:
    """The words of a corpus, counted once by document and once by opening."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Count the words of every text."""
        self._counts: Counter[str] = Counter()
        self._openings: Counter[str] = Counter()
        self._weights: dict[str, float] = {}
        self._documents = 0
        for text in texts:
            self._documents += 1
            self._counts.update(set(words_of(text)))
            self._openings.update({match[0].lower() for match in WORD.finditer(text, 0, OPENING_CHARS)})

    def weight(self, word: str) -> float:
        """Return how telling a word is; nothing for one that stands in many documents."""
        known = self._weights.get(word)
        if known is None:
            count = self._counts[word]
            common = count > max(2, COMMON_SHARE * self._documents)
            known = 0.0 if common else math.log((1 + self._documents) / (1 + count)) + 1.0
            self._weights[word] = known
        return known

    def opens_many(self, word: str) -> bool:
        """Tell whether many documents, but not most, open with a word."""
        count, (low, high) = self._openings[word], OPENS_MANY
        enough = count >= max(MIN_OPENINGS, low * self._documents) and count <= high * self._documents
        return enough and word not in STOPWORDS and not word.isdigit()
