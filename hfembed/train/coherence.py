"""Coherence: whether documents are about something, as the base model sees them.

Text without a subject can still be told apart by its words, and a model can be trained to do that better: its
held-out queries would even show a gain, which no one who searches would ever see. Where documents are about
something, the end of one is nearer to its own beginning than to others. Where they are not, nothing is to be learned.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfembed.embed import Embedder, unit
from hfembed.ranking import top_documents

# So many documents are looked at; fewer than LEAST can tell nothing.
DOCUMENTS, LEAST = 256, 100
# Words at either end. Ends of one length, for a vector tells how long its text was.
WORDS, FEWEST_WORDS = 12, 4
NEAREST = 10
# Standard deviations above chance. Random text comes to 1 at most; the least of nine real corpora came to 18.
DEVIATIONS = 5.0


@dataclass(frozen=True)
class Coherence:
    """How many beginnings have their own end among the nearest, of how many, and how many would have by chance."""

    found: int
    documents: int
    chance: float

    @property
    def holds(self) -> bool:
        """Tell whether the documents are about something, or are too few to tell."""
        if self.documents < LEAST:
            return True
        return self.found >= self.chance + DEVIATIONS * math.sqrt(self.chance * (1 - self.chance / self.documents))

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps of it."""
        return {"holds": self.holds, "found": self.found, "documents": self.documents, "chance": round(self.chance, 2)}

    def describe(self) -> str:
        """Return what to say where it does not hold."""
        return (
            f"The documents seem to be about nothing: the end of one is among the {NEAREST} nearest to its beginning for "
            f"{self.found} of {self.documents:,} documents, and by chance for {self.chance:.0f}. All that training could "
            "learn of them is their words, so the base is kept. Look at them with `hfembed pull`; to train all the "
            "same, set train.strength."
        )


def measure_coherence(texts: Sequence[str], embedder: Embedder, seed: int) -> Coherence:
    """Ask the beginnings of some documents for the ends of all of these."""
    split = [text.split() for text in texts]
    # Long ones tell most; short ones serve where there are not enough.
    usable = [words for words in split if len(words) >= 2 * WORDS]
    if len(usable) < LEAST:
        usable = [words for words in split if len(words) >= FEWEST_WORDS]
    drawn = random.Random(seed).sample(usable, min(DOCUMENTS, len(usable)))
    if len(drawn) < LEAST:
        return Coherence(0, len(drawn), 0.0)
    beginnings = _centred(embedder, [" ".join(words[: len(words) // 2][:WORDS]) for words in drawn])
    ends = _centred(embedder, [" ".join(words[len(words) // 2 :][-WORDS:]) for words in drawn])
    nearest = top_documents(beginnings, ends, NEAREST)
    found = int((nearest == np.arange(len(drawn))[:, None]).any(axis=1).sum())
    return Coherence(found, len(drawn), float(NEAREST))


def _centred(embedder: Embedder, texts: list[str]) -> Any:
    vectors = unit(np.asarray(embedder.queries(texts)))
    return np.ascontiguousarray(vectors - vectors.mean(axis=0))
