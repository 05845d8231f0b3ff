"""Bundles: a few documents that belong together without saying the same, for questions that need them all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from hfembed.corpus import Documents
from hfembed.generate.query import Split
from hfembed.text import STOPWORDS, words_of

# The telling words of a document, and how common a word may be and still tell.
TERMS, MOST_COMMON = 12, 50


def bundle(documents: Documents, rows: Sequence[int], splits: Sequence[Split], size: int) -> list[tuple[int, ...]]:
    """Return bundles of `size` documents, each document in one at most, all of one split.

    Parts of one source document go together in their order; the others with those that share their rarest words.
    """
    made: list[tuple[int, ...]] = []
    for split in Split:
        own = [row for row in rows if splits[row] is split]
        together = _of_one_source(documents, own, size)
        taken = {row for one in together for row in one}
        made += together + _by_words(documents, [row for row in own if row not in taken], size)
    return made


def whole_documents(documents: Documents, rows: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Return all chunks of every source document whose first one is among the rows, in their order.

    A document of more than `most` characters is taken in parts.
    """
    parts: dict[str, list[int]] = defaultdict(list)
    for row, source in enumerate(documents.documents):
        parts[source].append(row)
    wanted, found = set(rows), []
    for own in parts.values():
        if own[0] not in wanted:
            continue
        held: list[int] = []
        for row in own:
            if held and sum(len(documents.bodies[other]) for other in (*held, row)) > most:
                found.append(tuple(held))
                held = []
            held.append(row)
        found.append(tuple(held))
    return found


def _of_one_source(documents: Documents, rows: Iterable[int], size: int) -> list[tuple[int, ...]]:
    parts: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        parts[documents.documents[row]].append(row)
    found = []
    for own in parts.values():
        found += [tuple(own[at : at + size]) for at in range(0, len(own) - size + 1, size)]
    return found


def _by_words(documents: Documents, rows: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Join documents that share rare words, greedily; near-duplicates of one another are never joined."""
    terms = _telling_words(documents, rows)
    holders: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        for term in terms[row]:
            holders[term].append(row)
    free, made = set(rows), []
    for row in rows:
        chosen = [row]
        while row in free and len(chosen) < size:
            best = _nearest(row, chosen, terms, holders, free, documents)
            if best is None:
                break
            chosen.append(best)
        if len(chosen) == size:
            made.append(tuple(sorted(chosen)))
            free -= set(chosen)
    return made


def _nearest(
    row: int,
    chosen: list[int],
    terms: dict[int, list[str]],
    holders: dict[str, list[int]],
    free: set[int],
    documents: Documents,
) -> int | None:
    groups = {documents.groups[other] for other in chosen}
    shared: Counter[int] = Counter()
    for term in terms[row]:
        for other in holders[term]:
            if other in free and documents.groups[other] not in groups:
                shared[other] += 1000 // len(holders[term])
    return min(shared, key=lambda other: (-shared[other], other)) if shared else None


def _telling_words(documents: Documents, rows: Sequence[int]) -> dict[int, list[str]]:
    """Return the words of each document that stand in the fewest others, but in one at least."""
    words = {row: set(words_of(f"{documents.titles[row]} {documents.bodies[row]}")) - STOPWORDS for row in rows}
    counts = Counter(word for own in words.values() for word in own)
    return {
        row: sorted((word for word in own if 1 < counts[word] <= MOST_COMMON), key=lambda word: (counts[word], word))[
            :TERMS
        ]
        for row, own in words.items()
    }
