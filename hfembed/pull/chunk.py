"""Long documents cut into chunks: by sentences, by tokens of the base model, or by headings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hfembed.errors import InputError, ModelError
from hfembed.pull.documents import Cutter, Document
from hfembed.pull.tokens import BaseTokenizer
from hfembed.recipe import Chunk, ChunkBy
from hfembed.text import sentence_spans

SENTENCES = 5
# A sentence that is longer than a chunk is cut into parts of this share of it, at words.
PART = 4
# However long a title is, at least this share of a chunk is text.
TEXT_SHARE = 0.5
PATH = " > "
FENCE = re.compile(r"\s*(```|~~~)")
HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*\s*$")

Span = tuple[int, int]


def make_cutter(settings: Chunk, tokenizer: BaseTokenizer | None, base: str) -> Cutter | None:
    """Return what cuts a document as the recipe says; None where documents stay whole."""
    if settings.by is ChunkBy.NONE:
        return None
    if settings.by is ChunkBy.SENTENCES:
        size = settings.size or SENTENCES
        _refuse_overlap(settings, size)
        return lambda document: _number(document, _by_sentences(document.text, size, settings.overlap))
    limit = settings.size or (tokenizer.limit if tokenizer else None)
    if settings.by is ChunkBy.HEADINGS and tokenizer is None and settings.size is None:
        return lambda document: _number(document, _by_headings(document))
    if tokenizer is None or limit is None:
        raise ModelError(
            f"The base model '{base}' has no tokenizer.json that can be had, so its tokens cannot be counted "
            f"(pull.chunk.by is {settings.by})."
            if tokenizer is None
            else f"The base model '{base}' does not say how many tokens it reads.",
            "--set pull.chunk.by=sentences" if tokenizer is None else "--set pull.chunk.size=256",
        )
    _refuse_overlap(settings, limit)
    by_tokens = TokenCutter(tokenizer, limit, settings.overlap)
    if settings.by is ChunkBy.TOKENS:
        return lambda document: _number(document, by_tokens(document))
    return lambda document: _number(
        document, [piece for section in _by_headings(document) for piece in by_tokens(section)]
    )


class TokenCutter:
    """Cuts documents into chunks that the base model reads to their end, between sentences where it can."""

    def __init__(self, tokenizer: BaseTokenizer, size: int, overlap: int) -> None:
        """Make chunks of at most `size` tokens, title and special tokens included."""
        self._tokenizer, self._size, self._overlap = tokenizer, size, overlap

    def __call__(self, document: Document) -> list[Document]:
        """Return the chunks of one document, in order."""
        title = self._tokenizer.count([document.title])[0]  # counts the special tokens too
        room = max(self._size - title, int(self._size * TEXT_SHARE) - self._tokenizer.special, 1)
        text = document.text
        starts = self._tokenizer.starts(text)
        if len(starts) <= room:
            return [document]
        bounds, lengths = self._units(text, starts, room)
        spans = _pack(lengths, room, min(self._overlap, room - 1))
        return [replace(document, text=text[bounds[first] : bounds[last]].strip()) for first, last in spans]

    @staticmethod
    def _units(text: str, starts: np.ndarray, room: int) -> tuple[list[int], list[int]]:
        """Return where the pieces that are never cut start and end, and how many tokens each has."""
        bounds = [0]
        step = max(1, room // PART)
        for first, following in _sentence_bounds(text):
            low, high = np.searchsorted(starts, (first, following))
            if high - low > room:
                words = [int(at) for at in starts[low + 1 : high] if text[at - 1].isspace()]
                bounds += _at_most(starts[low:high], words, step)
            bounds.append(following)
        at = np.searchsorted(starts, bounds)
        return bounds, np.diff(at).tolist()


def _at_most(starts: np.ndarray, words: Sequence[int], step: int) -> list[int]:
    """Return cuts that leave at most `step` tokens between two; at the start of a word where there is one."""
    cuts, allowed, at = [], set(words), 0
    while at + step < len(starts):
        following = at + step
        at = next((place for place in range(following, at, -1) if int(starts[place]) in allowed), following)
        cuts.append(int(starts[at]))
    return cuts


def _by_sentences(text: str, size: int, overlap: int) -> list[str]:
    bounds = [0, *(following for _, following in _sentence_bounds(text))]
    spans = _pack([1] * (len(bounds) - 1), size, overlap)
    return [text[bounds[first] : bounds[last]].strip() for first, last in spans]


def _sentence_bounds(text: str) -> list[Span]:
    """Return spans that together are the whole text: every sentence with what closes it and the space after it."""
    starts = [start for start, _ in sentence_spans(text)]
    starts[:1] = [0]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def _pack(lengths: Sequence[int], room: int, overlap: int) -> list[Span]:
    """Put neighbours together as long as there is room; each pack repeats the end of the one before it."""
    packs, first = [], 0
    while True:
        last, filled = first, 0
        while last < len(lengths) and (last == first or filled + lengths[last] <= room):
            filled += lengths[last]
            last += 1
        packs.append((first, last))
        if last >= len(lengths):
            return packs
        repeated, back = 0, last
        while back - 1 > first and repeated + lengths[back - 1] <= overlap:
            back -= 1
            repeated += lengths[back]
        # What is repeated must leave room for the next piece, or the pack would bring nothing new.
        while back < last and repeated + lengths[last] > room:
            repeated -= lengths[back]
            back += 1
        first = back


def _by_headings(document: Document) -> list[Document]:
    """Return the sections of a document that have text, each titled with the headings it stands under."""
    sections: list[Document] = []
    path: dict[int, str] = {}
    lines: list[str] = []

    def close() -> None:
        text = "\n".join(lines).strip()
        lines.clear()
        if text:
            names = [document.title, *path.values()]
            title = PATH.join(dict.fromkeys(name for name in names if name))
            sections.append(replace(document, title=title, text=text))

    fenced = False
    for line in document.text.splitlines():
        fenced ^= bool(FENCE.match(line))
        heading = None if fenced else HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        close()
        level = len(heading[1])
        path = {above: name for above, name in path.items() if above < level} | {level: heading[2]}
    close()
    return sections or [document]


def _number(document: Document, pieces: Sequence[str | Document]) -> list[Document]:
    """Return chunks with ids of their own; a document that stays whole keeps its id."""
    chunks = [piece if isinstance(piece, Document) else replace(document, text=piece) for piece in pieces]
    if len(chunks) == 1:
        return [replace(chunks[0], id=document.id)]
    return [replace(chunk, id=f"{document.id}#{number}") for number, chunk in enumerate(chunks, 1)]


def _refuse_overlap(settings: Chunk, size: int) -> None:
    if settings.overlap >= size:
        raise InputError(
            f"pull.chunk.overlap is {settings.overlap}, but must be below the size of a chunk, {size} {settings.by}.",
            f"--set pull.chunk.overlap={size // 5}",
        )
