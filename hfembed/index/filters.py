"""Filters: which documents a search may find, from what people write; a user's words never become SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import Any

from hfembed.corpus import DOCUMENTS
from hfembed.errors import InputError, choices, nearest

COLUMNS = tuple(DOCUMENTS.names)
CONDITION = re.compile(r"\s*(?P<column>[^\s=!~<>]+)\s*(?P<sign>!=|<=|>=|=|~|<|>|in\b)\s*(?P<value>.*?)\s*", re.DOTALL)
QUOTES = "\"'"
FORMS = "column = value, column != value, column ~ part of it, column < value, column in (a, b)"


class Sign(StrEnum):
    """How a column is compared."""

    EQUAL = "="
    UNEQUAL = "!="
    CONTAINS = "~"
    IN = "in"
    LESS = "<"
    MOST = "<="
    MORE = ">"
    LEAST = ">="


@dataclass(frozen=True)
class Condition:
    """A column, how it is compared, and with what; several values only for `in`."""

    column: str
    sign: Sign
    values: tuple[str, ...]

    def expression(self) -> Any:
        """Return the condition as LanceDB takes it: made of its parts, with no text to be parsed."""
        from lancedb.expr import col, lit

        column, value = col(self.column), lit(self.values[0])
        match self.sign:
            case Sign.EQUAL:
                return column == value
            case Sign.UNEQUAL:
                return column != value
            case Sign.CONTAINS:
                return column.contains(value)
            case Sign.IN:
                return column.isin(list(self.values))
            case Sign.LESS:
                return column < value
            case Sign.MOST:
                return column <= value
            case Sign.MORE:
                return column > value
            case Sign.LEAST:
                return column >= value


def parse_filter(text: str) -> Condition:
    """Read one condition, as `title = Pump 7` or `group in (d1, d2)`."""
    match = CONDITION.fullmatch(text)
    if match is None:
        raise InputError(
            f"The filter '{text}' cannot be read.", f"It reads: {FORMS}; the columns are {choices(COLUMNS)}."
        )
    column, sign = match["column"], Sign(match["sign"])
    if column not in COLUMNS:
        raise InputError(
            f"The index has no column '{column}' to filter by; it has {choices(COLUMNS)}. "
            f"{nearest(column, COLUMNS)}".strip(),
            '--filter "title = ..." for instance',
        )
    values = _listed(text, match["value"]) if sign is Sign.IN else (_unquoted(match["value"]),)
    return Condition(column, sign, values)


def all_of(filters: Sequence[Condition]) -> Any:
    """Return one expression that holds where all conditions do; nothing where there are none."""
    return reduce(lambda first, second: first & second, [one.expression() for one in filters]) if filters else None


def _listed(text: str, value: str) -> tuple[str, ...]:
    if not (value.startswith("(") and value.endswith(")") and value[1:-1].strip()):
        raise InputError(f"The filter '{text}' has no list behind 'in'.", "It reads: column in (a, b)")
    return tuple(_unquoted(part.strip()) for part in value[1:-1].split(","))


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in QUOTES
    return value[1:-1] if quoted else value
