"""The pull stage: read, clean, drop what cannot serve, write documents.parquet."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.corpus import DOCUMENTS, CorpusSource
from hfembed.errors import CorpusError, choices, nearest
from hfembed.events import Reporter
from hfembed.pull.readers import Row, read_rows
from hfembed.recipe import Pull
from hfembed.stage import Job, Outcome

MIN_DOCUMENTS = 10
WRITE_ROWS = 4_096
LOOK_AT_ROWS = 100

TEXT_NAMES = ("text", "body", "content", "document", "passage", "abstract", "context", "contents", "article", "answer")
TITLE_NAMES = ("title", "heading", "headline", "subject", "name")
ID_NAMES = ("_id", "id", "doc_id", "docid", "document_id", "pid", "uuid")

# Control characters carry no meaning and break terminals, YAML and CSV; tab and line feed stay.
CONTROL = {code: None for code in range(32) if chr(code) not in "\t\n"} | {127: None}
# Halves of a character, which JSON can write but no file can hold.
SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
REPLACED: dict[int, str | None] = {**CONTROL, **SURROGATES}


@dataclass(frozen=True)
class Columns:
    """Which columns hold what."""

    text: str
    title: str | None
    id: str | None


@dataclass(frozen=True)
class Document:
    """One document as the run keeps it."""

    id: str
    title: str
    text: str


@dataclass
class Tally:
    """What was read and what was dropped, counted on the way."""

    read: int = 0
    kept: int = 0
    invalid_utf8: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    columns: Columns | None = None


def pull(job: Job) -> Outcome:
    """Read the corpus, keep its usable documents once each, and write them down."""
    tally = Tally()
    source = job.sources.corpus
    with pq.ParquetWriter(job.out / "documents.parquet", DOCUMENTS) as writer:
        documents = read_corpus(source, job.recipe.pull, tally, job.report)
        while batch := list(itertools.islice(documents, WRITE_ROWS)):
            rows = [{"id": d.id, "title": d.title, "text": d.text, "group": d.id} for d in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS))
    _refuse_too_little(source, tally)
    _describe(job.report, tally)
    return Outcome(
        counts={"read": tally.read, "documents": tally.kept, "invalid_utf8": tally.invalid_utf8},
        dropped=dict(tally.dropped),
        facts={"columns": vars(tally.columns) if tally.columns else {}},
    )


def read_corpus(
    source: CorpusSource, settings: Pull, tally: Tally | None = None, report: Reporter | None = None
) -> Iterator[Document]:
    """Yield the usable documents of a corpus, each text once; count what was dropped in `tally`."""
    tally = tally or Tally()
    rows = itertools.islice(read_rows(source, settings), settings.limit)
    first = list(itertools.islice(rows, LOOK_AT_ROWS))
    if not first:
        raise CorpusError(f"The corpus '{source.name}' is empty.", "Name a corpus with documents in it.")
    tally.columns = choose_columns(first, settings)
    ids: dict[int, str] = {}
    seen: set[bytes] = set()
    stream: Iterable[Row] = itertools.chain(first, rows)
    for row in report.each(stream, "reading documents", unit="documents") if report else stream:
        tally.read += 1
        tally.invalid_utf8 += row.invalid_utf8
        document = _document(row, tally.columns, tally.read)
        _refuse_duplicate_id(document.id, row.place, ids)
        reason = _why_not(document, row, settings, seen)
        if reason:
            tally.dropped[reason] += 1
            continue
        tally.kept += 1
        yield document


def choose_columns(rows: list[Row], settings: Pull) -> Columns:
    """Take the columns the recipe names, and guess the others from their names and contents."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    for key in ("text_column", "title_column", "id_column"):
        wanted = getattr(settings, key)
        if wanted is not None and wanted not in names:
            raise CorpusError(
                f"There is no column '{wanted}' (pull.{key}); the corpus has {choices(names)}. "
                f"{nearest(wanted, names)}".strip(),
                f"--set pull.{key}={names[0] if names else 'NAME'}",
            )
    text = settings.text_column or _by_name(names, TEXT_NAMES) or _longest(rows, names)
    if text is None:
        raise CorpusError(
            f"No column with text was found; the corpus has {choices(names)}.", "--set pull.text_column=NAME"
        )
    title = settings.title_column or _by_name(names, TITLE_NAMES)
    return Columns(text, title if title != text else None, settings.id_column or _by_name(names, ID_NAMES))


def _by_name(names: list[str], wanted: tuple[str, ...]) -> str | None:
    lowered = {name.lower(): name for name in reversed(names)}
    return next((lowered[name] for name in wanted if name in lowered), None)


def _longest(rows: list[Row], names: list[str]) -> str | None:
    lengths = {name: sum(len(str(row.values.get(name) or "")) for row in rows) for name in names}
    words = [name for name in names if any(" " in str(row.values.get(name) or "") for row in rows)]
    return max(words, key=lambda name: lengths[name], default=None)


def _document(row: Row, columns: Columns, number: int) -> Document:
    identity = row.values.get(columns.id) if columns.id else None
    return Document(
        id=" ".join(_clean(identity).split()) or f"row-{number}",
        title=_clean(row.values.get(columns.title)) if columns.title else "",
        text=_clean(row.values.get(columns.text)),
    )


def _clean(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        value = " ".join(str(part) for part in value)
    return str(value).replace("\r\n", "\n").translate(REPLACED).strip()


def _why_not(document: Document, row: Row, settings: Pull, seen: set[bytes]) -> str | None:
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
    words = " ".join(f"{document.title}\n{document.text}".casefold().split())
    digest = hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if digest in seen:
        return "duplicate"
    seen.add(digest)
    return None


def _refuse_duplicate_id(identity: str, place: str, ids: dict[int, str]) -> None:
    key = int.from_bytes(hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    if key in ids:
        raise CorpusError(
            f"The id '{identity}' stands twice: at {ids[key]} and at {place}.",
            "Give every document an id of its own, or name another column: --set pull.id_column=NAME",
        )
    ids[key] = place


def _refuse_too_little(source: CorpusSource, tally: Tally) -> None:
    if tally.kept >= MIN_DOCUMENTS:
        return
    why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in tally.dropped.items())
    raise CorpusError(
        f"The corpus '{source.name}' has {tally.kept} usable document{'s' * (tally.kept != 1)} of {tally.read} read"
        + (f" (dropped: {why})" if why else "")
        + f"; at least {MIN_DOCUMENTS} are needed to learn from some and test on others.",
        "Add documents; if the text stands in another column: --set pull.text_column=NAME",
    )


def _describe(report: Reporter, tally: Tally) -> None:
    columns = tally.columns
    if columns:
        report.note(f"text from column '{columns.text}'" + (f", title from '{columns.title}'" if columns.title else ""))
    if tally.invalid_utf8:
        report.warn(f"{tally.invalid_utf8} documents held invalid UTF-8; the broken bytes were replaced.")
    if tally.kept * 2 < tally.read:
        report.warn(f"Only {tally.kept} of {tally.read} records became documents: {dict(tally.dropped)}")
