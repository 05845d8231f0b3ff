"""Made-up documents for benchmarks: as many as wanted, all different, the same ones every time.

The words are those of the sample corpus as often as they stand in it, and ten thousand more that are put together
from two of them; so a document costs a tokenizer about as much as an English one.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from hfembed.resources import sample_folder
from hfembed.text import STOPWORDS, words_of

COMPOUNDS = 10_000
# What a compound counts against the words of the sample.
SELDOM = 0.25
# Documents about one subject share this many words, and half of what they say is made of them.
SUBJECT_WORDS, SUBJECT_DOCUMENTS, SUBJECT_SHARE = 40, 50, 0.5
SENTENCE_WORDS = (8, 16)
STATEMENT = "A {} is a {} {} that {} the {} of the {} {}."
SEED = 1


class Words:
    """Words with how often each is drawn."""

    def __init__(self) -> None:
        """Read the sample corpus, and put words of it together."""
        lines = (sample_folder() / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        counts = Counter(word for line in lines for word in words_of(json.loads(line)["text"]) if word.isalpha())
        draw = random.Random(SEED)
        self.plain = [word for word in sorted(counts) if word not in STOPWORDS and len(word) > 3]
        self.compounds = sorted({"".join(draw.sample(self.plain, 2)) for _ in range(COMPOUNDS)})
        self._words = [*counts, *self.compounds]
        self._edges = list(accumulate([*counts.values(), *(SELDOM for _ in self.compounds)]))

    def some(self, count: int, draw: random.Random) -> list[str]:
        """Draw words, each as often as it is said."""
        return draw.choices(self._words, cum_weights=self._edges, k=count)

    def subject(self, draw: random.Random) -> list[str]:
        """Draw the words of a subject: half of them are used for others, too."""
        return [*draw.sample(self.plain, SUBJECT_WORDS // 2), *draw.sample(self.compounds, SUBJECT_WORDS // 2)]


def write_random(file: Path, count: int, length: int, seed: int) -> None:
    """Write documents in which every word is drawn by itself: nothing can be learned from one about another."""
    words, draw = Words(), random.Random(seed)
    _write(file, (("", ". ".join(_sentences(words, length, [], draw)) + ".") for _ in range(count)))


def write_corpus(file: Path, count: int, length: int) -> None:
    """Write documents with a title and a statement of what something is, each about one of many subjects."""
    words, draw = Words(), random.Random(SEED)
    subjects = [words.subject(draw) for _ in range(1 + count // SUBJECT_DOCUMENTS)]
    _write(file, (_document(words, draw.choice(subjects), length, draw) for _ in range(count)))


def _document(words: Words, subject: list[str], length: int, draw: random.Random) -> tuple[str, str]:
    name = " ".join(draw.sample(subject, 2))
    opening = STATEMENT.format(name, *draw.sample(subject, 6))
    rest = _sentences(words, length - len(opening.split()), subject, draw)
    return name.capitalize(), " ".join([opening, *(f"{sentence}." for sentence in rest)])


def _sentences(words: Words, length: int, subject: list[str], draw: random.Random) -> Iterator[str]:
    while length > 0:
        drawn = words.some(min(length, draw.randint(*SENTENCE_WORDS)), draw)
        said = [draw.choice(subject) if subject and draw.random() < SUBJECT_SHARE else word for word in drawn]
        yield " ".join(said).capitalize()
        length -= len(said)


def _write(file: Path, documents: Iterator[tuple[str, str]]) -> None:
    with file.open("w", encoding="utf-8") as handle:
        for number, (title, text) in enumerate(documents):
            handle.write(json.dumps({"_id": f"d{number}", "title": title, "text": text}) + "\n")
