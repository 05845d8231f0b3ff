"""The upload half of the Xet protocol, which 1.x and 2.x clients use for every large file.

A client cuts files into chunks, packs chunks into xorbs, and says in a shard which chunks make which file.
Here a shard puts its files together again, checks their sha256, and keeps them like any other large file.
Formats: https://huggingface.co/docs/xet
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy
import pyarrow

from hfembed.localhub.errors import bad_request
from hfembed.localhub.largefiles import LargeFileStore

_CHUNK_HEADER = 8
_RECORD = 48
_SHARD_HEADER = 48
_END_OF_SECTION = b"\xff" * 32
_WITH_VERIFICATION = 1 << 31
_WITH_METADATA = 1 << 30
_XORB_FOOTER = b"XETBLOB"
_PLAIN, _LZ4, _GROUPED_LZ4 = 0, 1, 2


@dataclass(frozen=True)
class Segment:
    """A run of chunks of one xorb."""

    xorb: str
    first: int
    end: int


@dataclass(frozen=True)
class AssembledFile:
    """A file as a shard describes it."""

    sha256: str
    segments: tuple[Segment, ...]


def hash_text(raw: bytes) -> str:
    """Write a hash as Xet does: four little-endian numbers in hexadecimal."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


def read_shard(shard: bytes) -> list[AssembledFile]:
    """Return the files that a shard describes."""
    files = []
    position = _SHARD_HEADER
    try:
        while (record := shard[position : position + _RECORD])[:32] != _END_OF_SECTION:
            flags, count = struct.unpack("<II", record[32:40])
            position += _RECORD
            segments = tuple(_segment(shard, position + _RECORD * index) for index in range(count))
            position += _RECORD * count * (2 if flags & _WITH_VERIFICATION else 1)
            if not flags & _WITH_METADATA:
                raise bad_request("The shard does not tell the sha256 of a file.")
            files.append(AssembledFile(hash_text(shard[position : position + 32]), segments))
            position += _RECORD
    except struct.error:
        raise bad_request("The shard is not in the format of the Xet protocol.") from None
    return files


def _segment(shard: bytes, position: int) -> Segment:
    record = shard[position : position + _RECORD]
    first, end = struct.unpack("<II", record[40:48])
    return Segment(hash_text(record[:32]), first, end)


def read_chunks(xorb: Path, first: int, end: int) -> Iterator[bytes]:
    """Yield the content of some chunks of a xorb, one at a time."""
    with xorb.open("rb") as stream:
        for index in range(end):
            header = stream.read(_CHUNK_HEADER)
            if len(header) < _CHUNK_HEADER or header.startswith(_XORB_FOOTER):
                raise bad_request(f"The xorb {xorb.name} has no chunk {index}.")
            packed_size = int.from_bytes(header[1:4], "little")
            size = int.from_bytes(header[5:8], "little")
            if index < first:
                stream.seek(packed_size, 1)
                continue
            yield _unpack(header[4], stream.read(packed_size), size)


def _unpack(scheme: int, packed: bytes, size: int) -> bytes:
    if scheme == _PLAIN:
        return packed
    if scheme not in (_LZ4, _GROUPED_LZ4):
        raise bad_request(f"Unknown chunk compression: {scheme}")
    try:
        content: bytes = pyarrow.decompress(packed, size, codec="lz4", asbytes=True)
    except (OSError, pyarrow.ArrowException) as error:
        raise bad_request(f"A chunk cannot be decompressed: {error}") from None
    return content if scheme == _LZ4 else _ungroup(content)


def _ungroup(content: bytes) -> bytes:
    """Put bytes back in order that were grouped by their place in each four."""
    grouped = numpy.frombuffer(content, dtype=numpy.uint8)
    ordered = numpy.empty_like(grouped)
    position = 0
    for place in range(4):
        length = len(ordered[place::4])
        ordered[place::4] = grouped[position : position + length]
        position += length
    return ordered.tobytes()


class XorbStore:
    """The folder of xorbs; they stay, because clients remember what they sent and do not send it again."""

    def __init__(self, root: Path, large_files: LargeFileStore) -> None:
        self._folder = root / "xorbs"
        self._folder.mkdir(exist_ok=True)
        self._large_files = large_files

    def path_of(self, name: str) -> Path:
        """Return where a xorb lies."""
        if len(name) != 64 or not all(letter in "0123456789abcdef" for letter in name):
            raise bad_request(f"Not a xorb hash: {name!r}")
        return self._folder / name[:2] / name

    def assemble(self, repo: str, file: AssembledFile) -> None:
        """Put a file together from its chunks and keep it as the repository's."""
        if self._large_files.size_in(repo, file.sha256) is not None:
            return
        incoming = self._large_files.new_file()
        try:
            for segment in file.segments:
                xorb = self.path_of(segment.xorb)
                if not xorb.exists():
                    raise bad_request(f"The xorb {segment.xorb} was never uploaded here.")
                for chunk in read_chunks(xorb, segment.first, segment.end):
                    incoming.write(chunk)
        except BaseException:
            incoming.discard()
            raise
        self._large_files.keep(incoming, repo, file.sha256, None)
