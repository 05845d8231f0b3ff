"""Rows out of every form a corpus comes in, one at a time, whatever its size."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.corpus import CorpusKind, CorpusSource
from hfembed.errors import CorpusError
from hfembed.hub import stream_dataset
from hfembed.ontology import Term
from hfembed.pull.files import Problem, UnusableFileError, decode, parse_file, require_parsers
from hfembed.pull.ontology import Graph, read_entries
from hfembed.recipe import Pull
from hfembed.stage import require

BYTES_PER_CHAR = 4
READ_ROWS = 1_024


@dataclass(frozen=True)
class Row:
    """One record as it stands in the source, and where.

    problem: why a file gave no record that can be used; detail: what its parser said. left_out: why a record that
    can be read is none that should be kept. term: what an ontology knows of it beside its text.
    """

    values: dict[str, Any]
    place: str
    invalid_utf8: bool = False
    problem: Problem | None = None
    detail: str = ""
    left_out: str = ""
    term: Term | None = None


def read_rows(source: CorpusSource, settings: Pull) -> Iterator[Row]:
    """Yield every record of a corpus."""
    if source.kind is CorpusKind.HUB:
        assert source.repo is not None and source.revision is not None
        require("train", "datasets")
        rows = stream_dataset(source.repo, source.config, source.revision, settings.split)
        for number, values in enumerate(rows, 1):
            yield Row(values, f"{source.name} row {number}")
        return
    if source.kind in (CorpusKind.TEXTS, CorpusKind.ONTOLOGIES):
        require_parsers(source.suffixes())
    if source.kind is CorpusKind.ONTOLOGIES:
        yield from _read_ontologies(source, settings)
        return
    for file, name in source.local_files():
        yield from _read_file(file, name, source.kind, settings)


def _read_file(file: Path, name: str, kind: CorpusKind, settings: Pull) -> Iterator[Row]:
    if kind is CorpusKind.TEXTS:
        yield _read_text(file, name, settings)
    elif file.suffix.lower() == ".parquet":
        yield from _read_parquet(file)
    elif file.suffix.lower() in (".csv", ".tsv"):
        yield from _read_csv(file, settings)
    else:
        yield from _read_jsonl(file, settings)


def _read_lines(file: Path, settings: Pull) -> Iterator[tuple[str, bool]]:
    limit = settings.max_chars * BYTES_PER_CHAR
    with file.open("rb") as handle:
        for number, raw in enumerate(iter(lambda: handle.readline(limit + 1), b""), 1):
            if len(raw) > limit:
                raise CorpusError(
                    f"{file.name} line {number} is longer than {limit / 1e6:,.0f} MB, the most that a document may have.",
                    "Split it into documents, or raise --set pull.max_chars=N.",
                )
            yield decode(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw)


def _read_jsonl(file: Path, settings: Pull) -> Iterator[Row]:
    for number, (line, invalid) in enumerate(_read_lines(file, settings), 1):
        if not line.strip():
            continue
        place = f"{file.name} line {number}"
        try:
            values = json.loads(line, strict=False)
        except (ValueError, RecursionError) as error:
            at = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise CorpusError(
                f"{place} is not JSON that can be read: {at}.", "One JSON object a line is expected."
            ) from None
        if not isinstance(values, dict):
            raise CorpusError(f"{place} holds a {type(values).__name__}; one JSON object a line is expected.")
        yield Row(values, place, invalid)


def _read_csv(file: Path, settings: Pull) -> Iterator[Row]:
    csv.field_size_limit(settings.max_chars * BYTES_PER_CHAR)
    spoiled = False

    def lines() -> Iterator[str]:
        nonlocal spoiled
        for line, invalid in _read_lines(file, settings):
            spoiled = spoiled or invalid
            yield line

    reader = csv.DictReader(lines(), delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
    try:
        for values in reader:
            yield Row(
                {key: value for key, value in values.items() if key}, f"{file.name} line {reader.line_num}", spoiled
            )
            spoiled = False
    except csv.Error as error:
        raise CorpusError(f"{file.name} line {reader.line_num} cannot be read as CSV: {error}.") from None


def _read_parquet(file: Path) -> Iterator[Row]:
    try:
        number = 0
        for batch in pq.ParquetFile(file).iter_batches(batch_size=READ_ROWS):
            for values, invalid in _decode_strings(batch):
                number += 1
                yield Row(values, f"{file.name} row {number}", invalid)
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{file.name} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _decode_strings(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield rows; strings go by their bytes, because Parquet does not make sure that they are UTF-8."""
    strings = {
        field.name for field in batch.schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    }
    columns = {
        name: column.cast(pa.large_binary()).to_pylist() if name in strings else column.to_pylist()
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    for at in range(batch.num_rows):
        row, spoiled = {}, False
        for name, values in columns.items():
            row[name] = values[at]
            if name in strings and values[at] is not None:
                row[name], invalid = decode(values[at])
                spoiled = spoiled or invalid
        yield row, spoiled


def _read_ontologies(source: CorpusSource, settings: Pull) -> Iterator[Row]:
    """Yield the terms of all files together: one names what another defines."""
    whole, failed = Graph(), dict[str, UnusableFileError]()
    for file, name in source.local_files():
        try:
            whole.add(_read_ontology(file))
        except UnusableFileError as error:
            failed[name] = error
    if failed and not whole.nodes:
        name, why = next(iter(failed.items()))
        raise CorpusError(
            f"{name} cannot be read as an ontology: {why.detail or why.problem.replace('_', ' ')}.",
            "Save it as Turtle (.ttl), RDF/XML (.owl) or OBO (.obo), for instance with Protégé or ROBOT.",
        )
    for name, why in failed.items():
        yield Row({"id": name, "title": "", "text": ""}, name, problem=why.problem, detail=why.detail)
    for entry in read_entries(whole, undefined=settings.undefined):
        values = {"id": entry.id, "title": entry.title, "text": entry.text}
        yield Row(values, f"{source.name}, {entry.id}", left_out=entry.left_out or "", term=entry.term)


def _read_ontology(file: Path) -> Graph:
    if not file.stat().st_size:
        raise UnusableFileError(Problem.EMPTY)
    if file.suffix.lower() == ".obo":
        from hfembed.pull.obo import read_obo

        return read_obo(file)
    from hfembed.pull.rdf import read_rdf

    return read_rdf(file)


def _read_text(file: Path, name: str, settings: Pull) -> Row:
    limit = settings.max_chars * BYTES_PER_CHAR
    # Pictures and fonts make these larger than their text is.
    if file.suffix.lower() not in (".pdf", ".docx") and file.stat().st_size > limit:
        raise CorpusError(
            f"{name} is longer than {limit / 1e6:,.0f} MB, the most that a document may have.",
            "Split it into documents, or raise --set pull.max_chars=N.",
        )
    try:
        parsed = parse_file(file, settings.max_chars)
    except UnusableFileError as error:
        return Row({"id": name, "title": "", "text": ""}, name, problem=error.problem, detail=error.detail)
    return Row({"id": name, "title": parsed.title, "text": parsed.text}, name, parsed.invalid_utf8)
