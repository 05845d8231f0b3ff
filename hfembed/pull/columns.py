"""Which columns of a table hold text, title and id, and what a cell says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hfembed.errors import CorpusError, choices, nearest
from hfembed.pull.readers import Row
from hfembed.recipe import Pull

TEXT_NAMES = ("text", "body", "content", "document", "passage", "abstract", "context", "contents", "article", "answer")
TITLE_NAMES = ("title", "heading", "headline", "subject", "name")
ID_NAMES = ("_id", "id", "doc_id", "docid", "document_id", "pid", "uuid")


@dataclass(frozen=True)
class Columns:
    """Which columns hold what."""

    text: str
    title: str | None
    id: str | None


def column_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all columns that some rows have, in their order."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def choose_columns(rows: Sequence[Row], settings: Pull) -> Columns:
    """Take the columns the recipe names, and guess the others from their names and contents."""
    names = column_names(rows)
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


def read_cell(value: object) -> str:
    """Return the text of a cell: lists are joined, of dictionaries the values that are text."""
    return " ".join(_parts(value))


def _parts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        # Numbers and flags inside a record are about the text, not of it.
        for part in value.values():
            if isinstance(part, (str, list, dict)):
                yield from _parts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _parts(part)
    elif value is not None:
        yield str(value)


def _by_name(names: list[str], wanted: tuple[str, ...]) -> str | None:
    lowered = {name.lower(): name for name in reversed(names)}
    return next((lowered[name] for name in wanted if name in lowered), None)


def _longest(rows: Sequence[Row], names: list[str]) -> str | None:
    cells = {name: [read_cell(row.values.get(name)) for row in rows] for name in names}
    words = [name for name in names if any(" " in cell for cell in cells[name])]
    return max(words, key=lambda name: sum(map(len, cells[name])), default=None)
