"""Texts: what a corpus is like: its key terms, its lengths, its language, and what the model cuts off."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from bm25s.stopwords import STOPWORDS_EN_PLUS

WORD = re.compile(r"[^\W\d_](?:[\w'\u2019-]*[^\W_])?")
# Words that carry no topic, beyond those that BM25 leaves out.
FILLERS = {
    "also", "another", "called", "can", "cause", "caused", "causes", "commonly", "each", "every", "first", "four",
    "however", "include", "included", "includes", "including", "known", "like", "made", "make", "makes", "many", "may",
    "more", "most", "much", "never", "number", "often", "one", "other", "others", "second", "such", "three", "time",
    "two", "type", "use", "used", "using", "usually", "well", "within", "without",
}  # fmt: skip
STOPWORDS = FILLERS | set(STOPWORDS_EN_PLUS)
# Words that stand in nearly every English sentence and in few others.
ENGLISH = {"the", "of", "and", "to", "in", "is", "that", "for", "with", "are", "from", "by", "this", "which", "not"}
ENGLISH_SHARE = 0.12

# Enough documents to know a corpus by, few enough to take no time.
SAMPLE = 4_000
KEY_TERMS = 12
MIN_TERM_LETTERS = 3
MIN_TERM_DOCUMENTS = 3
# A word in more than this share of the documents says nothing about any of them.
COMMON_SHARE = 0.3
# Two words that belong together say more than either; so much more that they win over a somewhat rarer pair.
PAIR_WEIGHT = 1.5
WORD_BOUNDS = (16, 32, 64, 128, 256, 512, 1_024)


@dataclass(frozen=True)
class TextFacts:
    """What the documents are like. truncated: the share longer than max_tokens; None where it cannot be told."""

    documents: int
    median_words: int
    longest_words: int
    histogram: list[tuple[str, int]]
    key_terms: list[str]
    english: bool
    max_tokens: int | None
    truncated: float | None


def describe_texts(texts: Sequence[str], model: Path) -> TextFacts:
    """Describe documents, and how the model in a folder reads them; large corpora are sampled evenly."""
    sample = texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE]
    lengths = [len(text.split()) for text in texts]
    longest = max_tokens(model)
    return TextFacts(
        documents=len(texts),
        median_words=round(median(lengths)),
        longest_words=max(lengths),
        histogram=histogram(lengths),
        key_terms=key_terms(sample),
        english=_is_english(sample),
        max_tokens=longest,
        truncated=_share_longer(sample, model, longest) if longest else None,
    )


def key_terms(texts: Sequence[str]) -> list[str]:
    """Return the words and pairs of words that stand often in some documents and not in the others."""
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
    chosen: list[str] = []
    for term in sorted(usable, key=lambda term: (-weight(term), term)):
        if not any(_overlap(term, other) for other in chosen):
            chosen.append(term)
        if len(chosen) == KEY_TERMS:
            break
    return chosen


def histogram(lengths: Iterable[int]) -> list[tuple[str, int]]:
    """Count lengths in bins that double, without empty bins at either end."""
    counts = Counter(sum(length >= bound for bound in WORD_BOUNDS) for length in lengths)
    names = [f"below {WORD_BOUNDS[0]}"]
    names += [f"{low:,} to {high - 1:,}" for low, high in pairwise(WORD_BOUNDS)]
    names += [f"{WORD_BOUNDS[-1]:,} and more"]
    return [(names[at], counts[at]) for at in range(min(counts), max(counts) + 1)]


def max_tokens(model: Path) -> int | None:
    """Return how many tokens the model in a folder reads of a text."""
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        file = model / name
        value = json.loads(file.read_text(encoding="utf-8")).get(key) if file.is_file() else None
        if isinstance(value, int) and 0 < value < 1_000_000:  # "no limit" is written as a huge number
            return value
    return None


def _overlap(term: str, other: str) -> bool:
    return any(
        first.startswith(second) or second.startswith(first) for first in term.split() for second in other.split()
    )


def _is_english(texts: Sequence[str]) -> bool:
    words = [word.lower() for text in texts for word in WORD.findall(text)]
    return bool(words) and sum(word in ENGLISH for word in words) >= ENGLISH_SHARE * len(words)


def _share_longer(texts: Sequence[str], model: Path, limit: int) -> float | None:
    try:
        from tokenizers import Tokenizer  # type: ignore[import-untyped]
    except ImportError:
        return None  # comes with the extra `train`; the card leaves the sentence out
    if not (model / "tokenizer.json").is_file():
        return None
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return sum(len(encoding.ids) > limit for encoding in tokenizer.encode_batch(list(texts))) / len(texts)
