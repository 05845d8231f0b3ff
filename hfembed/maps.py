"""Maps: the entity maps of a run, as generate leaves them for all that look at this view of documents and queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.errors import StageError

MAPS = pa.schema([("of", pa.string()), ("key", pa.string()), ("map", pa.string())])


class MapOf(StrEnum):
    """What a map was made of; the key of a document is its id, that of a query its text."""

    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True)
class Maps:
    """Maps of documents by id, and of queries by text; a text that has none is looked at as it is."""

    documents: Mapping[str, str]
    queries: Mapping[str, str]

    @classmethod
    def read(cls, file: Path) -> Maps:
        """Read what generate wrote."""
        if not file.is_file():
            raise StageError(
                f"The recipe asks for entity maps, but '{file}' is not there: generate was done without them.",
                "--rerun generate",
            )
        found: dict[str, dict[str, str]] = {of: {} for of in MapOf}
        columns = (column.to_pylist() for column in pq.read_table(file, schema=MAPS).columns)
        for of, key, text in zip(*columns, strict=True):
            found[of][key] = text
        return cls(found[MapOf.DOCUMENT], found[MapOf.QUERY])

    def write(self, file: Path) -> None:
        """Write one row for every map."""
        both = ((MapOf.DOCUMENT, self.documents), (MapOf.QUERY, self.queries))
        rows = [{"of": of, "key": key, "map": text} for of, maps in both for key, text in maps.items()]
        pq.write_table(pa.Table.from_pylist(rows, schema=MAPS), file)

    def of_documents(self, ids: Sequence[str], texts: Sequence[str]) -> list[str]:
        """Return what documents look like in this view."""
        return [self.documents.get(identity, text) for identity, text in zip(ids, texts, strict=True)]

    def of_queries(self, texts: Sequence[str]) -> list[str]:
        """Return what queries look like in this view."""
        return [self.queries.get(text, text) for text in texts]
