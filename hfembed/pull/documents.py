"""Documents out of rows: cleaned, each id and each text once, what is dropped counted with its reason."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from hfembed.corpus import CorpusSource
from hfembed.errors import CorpusError
from hfembed.events import Reporter
from hfembed.ontology import Term
from hfembed.pull.columns import Columns, choose_columns, column_names, read_cell
from hfembed.pull.readers import Row, read_rows
from hfembed.recipe import Pull

LOOK_AT_ROWS = 100

# Control characters carry no meaning and break terminals, YAML and CSV; tab and line feed stay.
CONTROL = {code: None for code in range(32) if chr(code) not in "\t\n"} | {127: None}
# Halves of a character, which JSON can write but no file can hold.
SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
REPLACED: dict[int, str | None] = {**CONTROL, **SURROGATES}


@dataclass(frozen=True)
class Document:
    """One document as the run keeps it; `document` is the one of the source that it was cut from."""

    id: str
    title: str
    text: str
    document: str


Cutter = Callable[[Document], list[Document]]


@dataclass
class Tally:
    """What was read and what was dropped, counted on the way; terms: what an ontology knows beside its texts."""

    read: int = 0
    kept: int = 0
    invalid_utf8: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    skipped: list[dict[str, str]] = field(default_factory=list)
    columns: Columns | None = None
    names: list[str] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)


class Seen:
    """Which ids and texts were met; hashes of 64 bits, so that a million take little room."""

    def __init__(self) -> None:
        """Begin with none."""
        self._ids: set[int] = set()
        self._texts: set[int] = set()

    def has_id(self, identity: str) -> bool:
        """Tell whether an id was met before, and remember it."""
        return self._met(self._ids, identity)

    def has_text(self, document: Document) -> bool:
        """Tell whether a text was met before, in whatever case and spacing, and remember it."""
        return self._met(self._texts, " ".join(f"{document.title}\n{document.text}".casefold().split()))

    @staticmethod
    def _met(known: set[int], text: str) -> bool:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest, "big")
        if key in known:
            return True
        known.add(key)
        return False


def read_corpus(
    source: CorpusSource,
    settings: Pull,
    tally: Tally | None = None,
    report: Reporter | None = None,
    cut: Cutter | None = None,
) -> Iterator[Document]:
    """Yield the usable documents of a corpus, each text once; count what was dropped in `tally`.

    cut: cuts a document into chunks, which are then yielded in its place.
    """
    tally, seen = tally or Tally(), Seen()
    rows = itertools.islice(read_rows(source, settings), settings.limit)
    first = list(itertools.islice(rows, LOOK_AT_ROWS))
    if not first:
        raise CorpusError(f"The corpus '{source.name}' is empty.", "Name a corpus with documents in it.")
    tally.names = column_names(first)
    tally.columns = columns = choose_columns(first, settings)
    stream: Iterable[Row] = itertools.chain(first, rows)
    for row in report.each(stream, "reading documents", unit="documents") if report else stream:
        tally.read += 1
        tally.invalid_utf8 += row.invalid_utf8
        tally.terms += [row.term] if row.term else []
        document = _document(row, columns, tally.read)
        if seen.has_id(document.id):
            raise _repeated_id(document.id, row.place, source, settings, columns)
        reason = _why_not(document, row, settings, seen)
        if reason:
            tally.dropped[reason] += 1
            if row.problem:
                tally.skipped.append({"file": row.place, "reason": reason, "detail": row.detail})
            continue
        tally.kept += 1
        yield from [document] if cut is None else _chunks(cut(document), seen, settings, tally)


def _chunks(chunks: list[Document], seen: Seen, settings: Pull, tally: Tally) -> Iterator[Document]:
    if len(chunks) == 1:
        yield from chunks
        return
    for chunk in chunks:
        if len(chunk.text) < settings.min_chars:
            tally.dropped["too_short_chunk"] += 1
        elif seen.has_text(chunk):
            tally.dropped["duplicate_chunk"] += 1
        elif seen.has_id(chunk.id):
            raise CorpusError(
                f"The id '{chunk.id}' is that of a document and would be that of a chunk of '{chunk.document}' too.",
                "Name another column for the ids: --set pull.id_column=NAME",
            )
        else:
            yield chunk


def _document(row: Row, columns: Columns, number: int) -> Document:
    identity = _identity(row, columns, number)
    title = _clean(row.values.get(columns.title)) if columns.title else ""
    return Document(identity, title, _clean(row.values.get(columns.text)), identity)


def _identity(row: Row, columns: Columns, number: int) -> str:
    identity = row.values.get(columns.id) if columns.id else None
    return " ".join(_clean(identity).split()) or f"row-{number}"


def _clean(value: object) -> str:
    return read_cell(value).replace("\r\n", "\n").translate(REPLACED).strip()


def _why_not(document: Document, row: Row, settings: Pull, seen: Seen) -> str | None:
    if row.problem or row.left_out:
        return str(row.problem or row.left_out)
    if not document.text:
        return "no_text"
    if len(document.text) < settings.min_chars:
        return "too_short"
    if len(document.text) > settings.max_chars:
        raise CorpusError(
            f"{row.place} has {len(document.text):,} characters; the most a document may have is "
            f"{settings.max_chars:,}.",
            "Split it into documents, or raise --set pull.max_chars=N.",
        )
    return "duplicate" if seen.has_text(document) else None


def _repeated_id(identity: str, place: str, source: CorpusSource, settings: Pull, columns: Columns) -> CorpusError:
    """Say where the id stands; the first place is looked for only now, for nobody remembers a million places."""
    rows = enumerate(read_rows(source, settings), 1)
    first = next(row.place for number, row in rows if _identity(row, columns, number) == identity)
    return CorpusError(
        f"The id '{identity}' stands twice: at {first} and at {place}."
        if first != place
        else f"The id '{identity}', at {place}, is that of a chunk already.",
        "Give every document an id of its own, or name another column: --set pull.id_column=NAME",
    )
