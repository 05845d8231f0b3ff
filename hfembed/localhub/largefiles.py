"""Large files: stored by sha256, written whole or not at all, never held in memory."""

from __future__ import annotations

import hashlib
import hmac
import re
import shutil
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from hfembed.localhub.database import Database, now
from hfembed.localhub.durable import flush_path
from hfembed.localhub.errors import RefusalError, bad_request

_OID = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20
_LINK_LIFETIME = 24 * 3600


class IncomingFile:
    """A file on its way in: bytes go to disk as they come, and the checksum with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._checksum = hashlib.sha256()
        self._stream = path.open("xb")

    def write(self, block: bytes) -> None:
        """Append bytes."""
        self._stream.write(block)
        self._checksum.update(block)
        self.size += len(block)

    def close(self) -> str:
        """Finish writing and return the sha256 of what came."""
        self._stream.close()
        return self._checksum.hexdigest()

    def move_to(self, target: Path) -> None:
        """Give a finished file its place for good; it is on the disk before it has its name."""
        flush_path(self.path)
        self.path.replace(target)
        flush_path(target.parent)

    def discard(self) -> None:
        """Remove what came so far."""
        self._stream.close()
        self.path.unlink(missing_ok=True)


class LargeFileStore:
    """The folder of large files, shared by all repositories; each knows which ones it holds."""

    def __init__(self, root: Path, database: Database, secret: bytes) -> None:
        self._objects = root / "objects"
        self._incoming = root / "incoming"
        self._database = database
        self._secret = secret
        for folder in (self._objects, self._incoming):
            folder.mkdir(exist_ok=True)

    def clear_incoming(self) -> None:
        """Remove what an earlier, killed server left half received."""
        for path in self._incoming.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def path_of(self, oid: str) -> Path:
        """Return where a large file lies."""
        if not _OID.fullmatch(oid):
            raise bad_request(f"Not a sha256: {oid!r}")
        return self._objects / oid[:2] / oid[2:4] / oid

    def size_in(self, repo: str, oid: str) -> int | None:
        """Return the size of a large file that a repository holds, or None where it does not."""
        row = self._database.row("SELECT size FROM large_files WHERE repo = ? AND oid = ?", repo, oid)
        return None if row is None else int(row["size"])

    def new_file(self) -> IncomingFile:
        """Open a fresh file to receive into."""
        return IncomingFile(self._incoming / uuid.uuid4().hex)

    def keep(self, incoming: IncomingFile, repo: str, oid: str, size: int | None) -> None:
        """Check a received file against its name and size, then make it the repository's."""
        target = self.path_of(oid)
        checksum = incoming.close()
        if checksum != oid or (size is not None and incoming.size != size):
            incoming.discard()
            raise bad_request(f"The bytes received do not match {oid}: they have sha256 {checksum}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        incoming.move_to(target)
        self.claim(repo, oid, incoming.size)

    def claim(self, repo: str, oid: str, size: int) -> None:
        """Note that a repository holds a large file."""
        self._database.run("INSERT OR IGNORE INTO large_files VALUES (?, ?, ?, ?)", repo, oid, size, now())

    def part_path(self, repo: str, oid: str, number: int) -> Path:
        """Return where one part of a multipart upload is kept until all have come."""
        self.path_of(oid)
        folder = self._incoming / f"{repo}-{oid}"
        folder.mkdir(exist_ok=True)
        return folder / f"{number:05d}"

    def join_parts(self, repo: str, oid: str, size: int, numbers: Iterable[int]) -> None:
        """Put the parts of a multipart upload together and keep the result."""
        if self.size_in(repo, oid) is not None:
            # A completion that is sent again, because its answer was lost, has nothing left to do.
            return
        incoming = self.new_file()
        try:
            for number in numbers:
                with self.part_path(repo, oid, number).open("rb") as part:
                    while block := part.read(_BLOCK):
                        incoming.write(block)
        except FileNotFoundError:
            incoming.discard()
            raise bad_request(f"A part of {oid} was never uploaded.") from None
        self.keep(incoming, repo, oid, size)
        shutil.rmtree(self.part_path(repo, oid, 0).parent, ignore_errors=True)

    def sign(self, action: str, repo: str, oid: str, size: int) -> str:
        """Return the query of a link that needs no other credentials, for a day."""
        expires = int(time.time()) + _LINK_LIFETIME
        return f"size={size}&expires={expires}&signature={self._signature(action, repo, oid, size, expires)}"

    def check(self, action: str, repo: str, oid: str, query: dict[str, str]) -> int:
        """Refuse a link that was not signed here or is too old, and return the size it speaks of."""
        try:
            size, expires = int(query["size"]), int(query["expires"])
        except (KeyError, ValueError):
            raise RefusalError(403, "This link is not signed.") from None
        expected = self._signature(action, repo, oid, size, expires)
        if not hmac.compare_digest(expected, query.get("signature", "")) or expires < time.time():
            raise RefusalError(403, "This link is not valid, or no longer.")
        return size

    def _signature(self, action: str, repo: str, oid: str, size: int, expires: int) -> str:
        text = f"{action} {repo} {oid} {size} {expires}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
