"""Foreign: whether a table of somebody else's names files beside its own, which would be read on this machine.

A table that was cloned from another holds the other's path, and LanceDB reads there. Its library has no question for
that, so what it wrote of a version (a message of Protocol Buffers, its place told in the file's last 16 bytes) is read
here as far as that takes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"LANC"
FOOTER = struct.Struct("<QHH4s")
LENGTH = struct.Struct("<I")
# Of a version: the paths of other tables. The field's number in Lance's own table.proto.
OTHER_TABLES = 18
UPWARDS = (b"../", b"..\\")
# Sizes of values by how they are written; None: the value begins with its own length.
SIZES = {1: 8, 5: 4, 2: None}


def names_others(table: Path) -> bool:
    """Tell whether any version of a table reads files that are not in its folder, or cannot be understood."""
    return any(_reads_others(file.read_bytes()) for file in table.rglob("*.manifest"))


def _reads_others(content: bytes) -> bool:
    try:
        place, _, _, magic = FOOTER.unpack(content[-FOOTER.size :])
        (length,) = LENGTH.unpack_from(content, place)
        start = place + LENGTH.size
        fields = set(_fields(content[start : start + length]))
    except (struct.error, IndexError, KeyError, OverflowError):
        return True
    return magic != MAGIC or not fields or OTHER_TABLES in fields or any(up in content for up in UPWARDS)


def _fields(message: bytes) -> Iterator[int]:
    """Yield the numbers of a message's fields."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        if key & 7 == 0:
            _, at = _number(message, at)
        else:
            size = SIZES[key & 7]
            if size is None:
                size, at = _number(message, at)
            at += size
        yield key >> 3


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that stands at a place, seven bits a byte, and where it ends."""
    found = shift = 0
    while True:
        byte = message[at]
        found |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return found, at
