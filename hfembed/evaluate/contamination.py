"""Contamination: how much of a public task stands in what was learned from, so that nobody takes memory for skill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

from hfembed.evaluate.leakage import MAX_SHARE, find_leaked, read_distinct

# Texts of a task that are looked at, of each side.
MOST = 20_000


@dataclass(frozen=True)
class Contamination:
    """The share of a task's queries that were trained on, and of the documents that answer them."""

    queries: float = 0.0
    documents: float = 0.0

    def refusal(self) -> str | None:
        """Return why a score would say nothing; None where it says something."""
        if self.queries <= MAX_SHARE:
            return None
        return f"training saw {self.queries:.0%} of its queries, so a score would measure memory."

    def warning(self, task: str) -> str | None:
        """Return what whoever reads the score must know, if there is anything."""
        if not self.queries and not self.documents:
            return None
        return (
            f"{task} is contaminated: training saw {self.queries:.1%} of its queries and {self.documents:.1%} of the "
            "documents that answer them. Its score is no proof of anything new; say so wherever you show it, or leave it "
            "out: --set evaluate.tasks=[...]"
        )

    def to_json(self) -> dict[str, float]:
        """Return it for the report."""
        return {name: round(share, 5) for name, share in asdict(self).items()}


def measure_contamination(task: Any, tables: Sequence[Path]) -> Contamination:
    """Compare what a loaded task tests with, with the queries and documents of training tables."""
    queries, documents = (list(dict.fromkeys(islice(found, MOST))) for found in _texts_of(task))
    learned = {column: list(read_distinct(tables, column)) for column in ("query", "positive")}
    # A document that was a query is known as well, and the other way round.
    everything = [text for texts in learned.values() for text in texts]
    return Contamination(_share(queries, everything), _share(documents, everything))


def _share(texts: Sequence[str], learned: Sequence[str]) -> float:
    return len(find_leaked(texts, learned)) / len(texts) if texts else 0.0


def _texts_of(task: Any) -> tuple[Iterator[str], Iterator[str]]:
    """Return the queries of a task and the documents that answer them; where nothing is searched, all its texts."""
    if (convert := getattr(task, "convert_v1_dataset_format_to_v2", None)) is not None:
        convert(*([None] if signature(convert).parameters else []))  # how mteb's older tasks hold what they load
    splits = list(_splits(task.dataset or {}, set(task.metadata.eval_splits)))
    searched = [split for split in splits if isinstance(split, Mapping)]
    others = [split for split in splits if not isinstance(split, Mapping)]
    return _queries(searched, others), (text for split in searched for text in _answers(split))


def _splits(dataset: Mapping[str, Any], tested: set[str]) -> Iterator[Any]:
    """Yield the splits that are tested on, of every subset: tables, or what is searched with what."""
    for name, part in dataset.items():
        if name in tested and (not isinstance(part, Mapping) or "relevant_docs" in part):
            yield part
        elif isinstance(part, Mapping):
            yield from _splits(part, tested)


def _queries(searched: Sequence[Mapping[str, Any]], others: Sequence[Any]) -> Iterator[str]:
    for split in searched:
        yield from (text for text in split["queries"]["text"] if isinstance(text, str))
    for table in others:
        for column in table.column_names:
            yield from (text for text in table[column] if isinstance(text, str))


def _answers(split: Mapping[str, Any]) -> Iterator[str]:
    wanted = {name for judged in split["relevant_docs"].values() for name, grade in judged.items() if grade > 0}
    corpus = split["corpus"]
    rows = [row for row, name in enumerate(corpus["id"]) if name in wanted]  # of millions few are asked for
    for document in corpus.select(rows[:MOST]):
        yield f"{document.get('title') or ''} {document['text']}".strip()
