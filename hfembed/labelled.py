"""Queries that people asked, with the documents that answer them: a file of the user's own, or a BEIR folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.corpus import Documents, join_title
from hfembed.errors import InputError
from hfembed.events import Reporter

# Who asked them: the writer of such a query, and the family that they are in choosing.
PEOPLE = "people"
QUERY_NAMES = ("query", "question", "text")
ID_NAMES = ("positive_id", "positive_ids", "corpus_id", "document_id", "id")
TEXT_NAMES = ("positive", "positives", "answer", "document")
# Unknown answers are named, but not all of them, nor all of a long one.
EXAMPLES, SHOWN = 5, 60
FORMS = (
    'A .jsonl, .csv or .tsv file with "query" and "positive_id" (a document id, or a list of them) or "positive" '
    "(a document's text), or a BEIR folder with queries.jsonl and qrels/."
)


@dataclass(frozen=True)
class Labelled:
    """Queries of people and the rows of the documents that answer them.

    unknown: how many answers are no documents. examples: some of them, shortened.
    """

    queries: list[str]
    answers: list[int]
    unknown: int
    examples: list[str]


def read_labelled(path: Path, documents: Documents) -> Labelled:
    """Read (query, answer) pairs; an answer is a document's id or its whole text."""
    by_id = {identity: row for row, identity in enumerate(documents.ids)}
    by_text = {text: row for row, text in enumerate(documents.bodies)}
    by_text |= {
        join_title(title, body): row
        for row, (title, body) in enumerate(zip(documents.titles, documents.bodies, strict=True))
    }
    # A document of the source that was cut into chunks is answered by its first chunk at least.
    by_id = {identity: row for row, identity in reversed(list(enumerate(documents.documents)))} | by_id
    queries, answers, unknown, examples = [], [], 0, dict[str, None]()
    for query, answer in _pairs(path):
        row = by_id.get(answer, by_text.get(answer.strip()))
        if row is None or not query.strip():
            unknown += 1
            examples |= {shorten(answer): None} if len(examples) < EXAMPLES else {}
        else:
            queries.append(query.strip())
            answers.append(row)
    if not queries:
        raise InputError(
            f"None of the {unknown:,} answers in '{path}' ({', '.join(examples)}) is a document of the run: "
            "neither by id nor by text.",
            "Name the ids that the corpus has.",
        )
    return Labelled(queries, answers, unknown, list(examples))


def read_named(name: str, documents: Documents, report: Reporter) -> Labelled:
    """Read the file or folder that a recipe names, and say how many of its answers are no documents."""
    path = Path(name).expanduser()
    found = read_labelled(path, documents)
    if found.unknown:
        report.warn(f"{found.unknown:,} answers in '{path.name}' are no documents of the run; they are left out.")
    return found


def shorten(name: str) -> str:
    """Return an id or a text as a sentence can quote it."""
    words = " ".join(name.split())
    return f"'{words[:SHOWN]}...'" if len(words) > SHOWN else f"'{words}'"


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    if path.is_dir():
        yield from _beir(path)
        return
    rows = labelled_rows(path)
    for number, row in enumerate(rows, 1):
        query = next((row[name] for name in QUERY_NAMES if row.get(name)), None)
        found = next((row[name] for name in (*ID_NAMES, *TEXT_NAMES) if row.get(name)), None)
        if not isinstance(query, str) or found is None:
            raise InputError(f"Row {number} of '{path}' has no query or no answer: it has {', '.join(row)}.", FORMS)
        for answer in found if isinstance(found, list) else [found]:
            yield query, str(answer)


def labelled_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a .jsonl, .csv or .tsv file."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", newline="") as handle:
            try:
                yield from csv.DictReader(handle, delimiter="\t" if suffix == ".tsv" else ",")
            except csv.Error as error:
                raise InputError(f"'{path}' cannot be read as a table: {error}.", FORMS) from None
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path)
    else:
        raise InputError(f"'{path}' is a {suffix or 'nameless'} file.", FORMS)


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"Line {number} of '{path}' is not JSON: {error.msg}.", FORMS) from error
            if not isinstance(row, dict):
                raise InputError(f"Line {number} of '{path}' is no object.", FORMS)
            yield row


def _beir(folder: Path) -> Iterator[tuple[str, str]]:
    tables = sorted((folder / "qrels").glob("*.tsv"))
    if not (folder / "queries.jsonl").is_file() or not tables:
        raise InputError(f"'{folder}' has no queries.jsonl, or no qrels/*.tsv.", FORMS)
    texts = {str(row["_id"]): str(row["text"]) for row in _json_lines(folder / "queries.jsonl")}
    for table in tables:
        for row in labelled_rows(table):
            if float(row["score"]) > 0 and row["query-id"] in texts:
                yield texts[row["query-id"]], str(row["corpus-id"])
