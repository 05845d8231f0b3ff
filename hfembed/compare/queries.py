"""Queries to compare with: those whose answers a corpus knows, and those of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfembed.compare.corpus import Readable
from hfembed.corpus import SAMPLE, Documents
from hfembed.errors import InputError
from hfembed.evaluate.collection import Collection
from hfembed.labelled import ID_NAMES, QUERY_NAMES, TEXT_NAMES, labelled_rows, read_labelled
from hfembed.resources import local_path, sample_folder
from hfembed.run import LAYOUT

LINES = ".txt"
FORMS = (
    'A .txt file with a query on each line, or a .jsonl, .csv or .tsv file with "query" and, where the answers are '
    'known, "positive_id" (a document id, or a list of them).'
)


@dataclass(frozen=True)
class Query:
    """A query, and the documents known to answer it, with their grades; none where nobody knows."""

    text: str
    relevant: Mapping[str, int] = field(default_factory=dict)
    kind: str = ""


@dataclass(frozen=True)
class Queries:
    """Queries that were read. unknown: answers that are no documents of the corpus."""

    queries: list[Query]
    unknown: int = 0

    @property
    def labelled(self) -> bool:
        """Tell whether their answers are known."""
        return any(query.relevant for query in self.queries)

    def answers(self, text: str) -> Mapping[str, int]:
        """Return the documents known to answer a query."""
        wanted = _plain(text)
        return next((query.relevant for query in self.queries if _plain(query.text) == wanted), {})


def known_queries(corpus: str) -> Queries:
    """Return the queries of a run's test, of a folder in BEIR layout, or of the sample."""
    folder = local_path(corpus) or (sample_folder() if corpus == SAMPLE else None)
    for home in (folder / LAYOUT.test, folder) if folder is not None else ():
        if (home / "queries.jsonl").is_file() and (home / "qrels" / "test.tsv").is_file():
            found = Collection.read_queries(home, corpus)
            return Queries([Query(text, found.qrels[name], found.kinds[name]) for name, text in found.queries.items()])
    return Queries([])


def read_queries(file: Path, documents: Documents) -> Queries:
    """Read the queries of a file, with their answers where it has some."""
    _refuse_unreadable(file)
    if file.suffix.lower() == LINES:
        lines = (line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines())
        return _unlabelled(file, (line for line in lines if line))
    rows = list(labelled_rows(file))
    if not any(_first(row, (*ID_NAMES, *TEXT_NAMES)) for row in rows):
        return _unlabelled(file, (str(found) for row in rows if (found := _first(row, QUERY_NAMES))))
    labelled = read_labelled(file, documents)
    relevant: dict[str, dict[str, int]] = {}
    for text, row in zip(labelled.queries, labelled.answers, strict=True):
        relevant.setdefault(text, {})[documents.ids[row]] = 1
    return Queries([Query(text, found) for text, found in relevant.items()], labelled.unknown)


def answering(file: Path, corpus: Readable) -> Documents:
    """Return those documents of a corpus on disk that a file names as answers, by their ids."""
    if file.suffix.lower() == LINES:
        return Documents([], [], [], [], [])
    _refuse_unreadable(file)
    named = dict.fromkeys(str(one) for row in labelled_rows(file) for one in _listed(_first(row, ID_NAMES)))
    found = corpus.passages(list(corpus.numbers(list(named)).values()))
    ids, titles, texts = ([passage[at] for passage in found] for at in range(3))
    return Documents(ids, titles, texts, ids, ids)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _unlabelled(file: Path, texts: Iterator[str]) -> Queries:
    found = [Query(text) for text in dict.fromkeys(texts)]
    if not found:
        raise InputError(f"'{file.name}' holds no query.", FORMS)
    return Queries(found)


def _refuse_unreadable(file: Path) -> None:
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if "\0" in line:
                    raise InputError(f"Line {number} of '{file.name}' is no text.", FORMS)
    except UnicodeDecodeError:
        raise InputError(f"'{file.name}' is not UTF-8.", f"Save it again as UTF-8. {FORMS}") from None


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name)), None)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
