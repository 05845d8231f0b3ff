"""What all pieces of work share: documents, prompts, settings, and what is counted on the way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hfembed.corpus import Documents, join_title
from hfembed.generate.llm.messages import Ask
from hfembed.generate.llm.prompts import Prompts
from hfembed.generate.llm.shapes import Listing
from hfembed.generate.query import Query, Split
from hfembed.recipe import Generate, LlmTask, QueryKind

# Letters and digits of scripts that put spaces between words.
SPACED = "[0-9A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff]"


@dataclass(frozen=True)
class Unit:
    """The documents that one piece of work is about, all of one split, and how many queries of each task it asks for."""

    number: int
    rows: tuple[int, ...]
    split: Split
    tasks: Mapping[LlmTask, int]


@dataclass(frozen=True)
class Passage:
    """A document as a prompt shows it; the first has number 1."""

    number: int
    title: str
    text: str


@dataclass
class Desk:
    """What work is done with. dropped: queries by reason. seen: what the checks look at afterwards."""

    settings: Generate
    documents: Documents
    prompts: Prompts
    writer: str
    dropped: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    hops: Counter[int] = field(default_factory=Counter)

    def passages(self, unit: Unit) -> list[Passage]:
        """Return the documents of a unit, as far as they are sent."""
        limit = self.settings.llm.max_chars
        columns = self.documents
        return [
            Passage(number, columns.titles[row], columns.bodies[row][:limit])
            for number, row in enumerate(unit.rows, start=1)
        ]

    def source(self, unit: Unit) -> str:
        """Return all that a writer of the unit has read, on one line."""
        passages = self.passages(unit)
        return squash(" ".join(join_title(passage.title, passage.text) for passage in passages))

    def query(self, unit: Unit, text: str, kind: QueryKind, **more: Any) -> Query:
        """Return a query about all documents of a unit, unless other rows are given."""
        return Query(text=text, kind=kind, split=unit.split, writer=self.writer, **{"rows": unit.rows, **more})

    def ask(
        self, unit: Unit, task: str, listing: Listing, values: Mapping[str, Any], exactly: int | None = None
    ) -> Generator[Ask, Any, list[Any] | None]:
        """Ask for a list; return its good items, or nothing where there is no answer to be had."""
        messages = self.prompts.messages(task, {"documents": self.passages(unit), **values})
        answer = yield Ask(task, messages, listing.schema(), lambda value, cut: listing.read(value, cut, exactly))
        if answer is None:
            return None
        items, bad = answer
        self.dropped["malformed"] += bad
        return list(items)

    def at_most(self, items: list[Any], count: int) -> list[Any]:
        """Return as many items as were asked for."""
        self.dropped["not_asked_for"] += max(0, len(items) - count)
        return items[:count]


def stands_in(name: str, source: str) -> bool:
    """Tell whether a name stands in a source letter by letter, and not as a piece of a longer word or number."""
    before = rf"(?<!{SPACED})" if re.match(SPACED, name) else ""
    after = rf"(?!{SPACED})" if re.match(SPACED, name[-1:]) else ""
    return re.search(f"{before}{re.escape(name)}{after}", source) is not None


def squash(text: str) -> str:
    """Return a text with single spaces."""
    return " ".join(text.split())
