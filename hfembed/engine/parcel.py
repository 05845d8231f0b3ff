"""Parcel: work with the files that it reads, on its way to another process, which may be of another machine.

A file that lies at the same place there, as on a shared file system, is read where it is. Every other one comes
through Ray's object store, once for each machine, and is kept there for a while. Nobody needs a way to the Hub,
nor a token.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

from hfembed import __version__
from hfembed.engine.contract import Work
from hfembed.errors import EngineError
from hfembed.resources import user_cache

CHUNK = 64 * 2**20
# Vectors of other versions of these may be others.
DECISIVE = ("bm25s", "numpy", "sentence-transformers", "tokenizers", "torch", "transformers")
KEPT_SECONDS = 7 * 24 * 3600

Put = Callable[[bytes], Any]
Get = Callable[[Any], bytes]


@dataclass(frozen=True)
class Item:
    """One file of a tree: where below it, how large, of when; its bytes, where they travel along."""

    name: str
    size: int
    modified: int
    chunks: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Tree:
    """A file or a folder as it lies on the machine that sends it. key: the hash of its bytes, where they travel along."""

    root: Path
    items: tuple[Item, ...]
    key: str = ""

    @classmethod
    def of(cls, root: Path, put: Put | None) -> Tree:
        """Look at a file or folder. put: what takes its bytes along, or None where every process sees them."""
        digest, items = hashlib.blake2b(digest_size=16), []
        for file in sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]:
            known, name = file.stat(), file.relative_to(root).as_posix()
            digest.update(f"{name}\0{known.st_size}\0".encode("utf-8", "surrogatepass"))
            chunks = tuple(_put_all(file, digest, put)) if put else ()
            items.append(Item(name, known.st_size, known.st_mtime_ns, chunks))
        return cls(root, tuple(items), digest.hexdigest() if put else "")

    def place(self, get: Get) -> Path:
        """Return where it lies on this machine, where it is brought if need be."""
        if self._lies_here():
            return self.root
        if not self.key:
            raise EngineError(
                f"'{self.root}' is not there as it was, and it did not travel.", "Repeat the command: it goes on."
            )
        home = user_cache() / "engine"
        home.mkdir(parents=True, exist_ok=True)
        place = home / self.key
        with FileLock(home / f"{self.key}.lock"):
            if not place.exists():
                _forget_old(home)
                with tempfile.TemporaryDirectory(dir=home) as work:
                    self._write(Path(work) / "tree", get)
                    (Path(work) / "tree").rename(place)
        place.touch()
        return place

    def _lies_here(self) -> bool:
        try:
            found = [(self.root / item.name).stat() for item in self.items]
        except OSError:
            return False
        return all(
            (there.st_size, there.st_mtime_ns) == (item.size, item.modified)
            for there, item in zip(found, self.items, strict=True)
        )

    def _write(self, place: Path, get: Get) -> None:
        for item in self.items:
            file = place / item.name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as out:
                for chunk in item.chunks:
                    out.write(get(chunk))


@dataclass(frozen=True)
class Parcel:
    """Work on its way. key: the same for the same work, which is opened once in each process."""

    key: str
    work: bytes
    trees: dict[str, Tree]
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, work: Work[Any, Any], put: Put | None = None) -> Parcel:
        """Pack work. put: what takes the bytes of its files along, or None where every process sees them."""
        packed = pickle.dumps(work, protocol=pickle.HIGHEST_PROTOCOL)
        trees = {name: Tree.of(path, put) for name, path in work.files.items()}
        told = [(item.name, item.size, item.modified) for tree in trees.values() for item in tree.items]
        key = hashlib.blake2b(packed + repr(told).encode(), digest_size=16).hexdigest()
        return cls(key, packed, trees, versions())

    def open(self, get: Get, machine: str) -> Work[Any, Any]:
        """Return the work, ready to be done in this process. machine: what this one is called."""
        here = versions()
        other = [f"{name} {here.get(name, 'none')} instead of {wanted}" for name, wanted in self.versions.items()
                 if here.get(name) != wanted]  # fmt: skip
        if other:
            raise EngineError(
                f"The machine {machine} has {', '.join(other)}: its results could differ.",
                f'There: pip install "hfembed[ray,train]=={__version__}" with the same versions; {name_versions(self.versions)}',
            )
        work: Work[Any, Any] = pickle.loads(self.work)
        try:
            work.files = {name: tree.place(get) for name, tree in self.trees.items()}
        except OSError as error:
            raise EngineError(
                f"The machine {machine} cannot keep what the work reads: {error}",
                f"Make room there below {user_cache()}, or let HFEMBED_CACHE name another place.",
            ) from error
        return work


def versions() -> dict[str, str]:
    """Return the versions here of all that decides results; how torch was built is none of it."""
    found = {"hfembed": __version__}
    for name in DECISIVE:
        try:
            found[name] = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return found


def name_versions(wanted: dict[str, str]) -> str:
    """Return versions as pip takes them."""
    return " ".join(f"{name}=={version}" for name, version in wanted.items() if name != "hfembed")


def _put_all(file: Path, digest: Any, put: Put) -> Iterator[Any]:
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            yield put(chunk)


def _forget_old(home: Path) -> None:
    """Remove what nothing has asked for in a while."""
    oldest = time.time() - KEPT_SECONDS
    for place in home.iterdir():
        if place.stat().st_mtime >= oldest:
            continue
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
