"""Queries that people asked, as training pairs: which documents they hold together, and in which split they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hfembed.corpus import Documents
from hfembed.generate.query import Query, Split
from hfembed.generate.split import split_groups
from hfembed.labelled import PEOPLE, read_named
from hfembed.recipe import QueryKind
from hfembed.stage import Job

# Documents that answer one query stand in one split, as long as those held together are not more than this share
# of all: labels that connect everything with everything would leave nothing to split.
MOST_TOGETHER = 0.02
Answers = dict[str, tuple[int, ...]]


def split_documents(job: Job, documents: Documents) -> tuple[list[Split], list[Query]]:
    """Return the split of every document, and the queries of people that the recipe gives as training pairs.

    Documents that people's queries are about are learned from; the test takes them only where no others are left.
    """
    settings, seed = job.recipe.generate, job.recipe.seed
    if settings.pairs is None:
        return split_groups(documents.groups, settings, seed), []
    asked = _read(settings.pairs, documents, job)
    groups = join_answers(documents.groups, asked.values())
    labelled = {groups[row] for rows in asked.values() for row in rows}
    splits = split_groups(groups, settings, seed, labelled)
    return splits, [_query(text, rows, splits) for text, rows in asked.items()]


def join_answers(groups: Sequence[str], answers: Iterable[Sequence[int]]) -> list[str]:
    """Return the group of every document, groups that answer one query joined unless they become too large."""
    most = max(2, int(len(groups) * MOST_TOGETHER))
    sizes, parents = Counter(groups), {group: group for group in groups}

    def find(group: str) -> str:
        while parents[group] != group:
            parents[group] = group = parents[parents[group]]
        return group

    for first, *others in answers:
        for other in others:
            low, high = sorted((find(groups[first]), find(groups[other])))
            if low != high and sizes[low] + sizes[high] <= most:
                parents[high] = low
                sizes[low] += sizes[high]
    return [find(group) for group in groups]


def _read(name: str, documents: Documents, job: Job) -> Answers:
    """Return every query once, in the order of the file; case and spaces make no other query."""
    found = read_named(name, documents, job.report)
    texts: dict[str, str] = {}
    rows: dict[str, dict[int, None]] = {}
    for text, row in zip(found.queries, found.answers, strict=True):
        key = " ".join(text.casefold().split())
        texts.setdefault(key, text)
        rows.setdefault(key, {})[row] = None
    return {texts[key]: tuple(sorted(own)) for key, own in rows.items()}


def _query(text: str, rows: tuple[int, ...], splits: list[Split]) -> Query:
    """Return a query with those of its documents that stand in the split where most of them are."""
    split = Counter(splits[row] for row in rows).most_common(1)[0][0]
    kept = tuple(row for row in rows if splits[row] is split)
    return Query(text, QueryKind.LABELLED, kept, split, PEOPLE)
