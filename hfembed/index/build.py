"""Building an index: what is new or changed is embedded and written, what vanished is removed, the rest is left alone.

Documents are written in blocks, each whole or not at all, and the manifest says last that the index is done: a build
that was killed goes on with what is not there yet.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from filelock import FileLock

from hfembed import __version__
from hfembed.embed import Embedder, Role, Vectors, prompt_of
from hfembed.encoder import keeps_lengths
from hfembed.errors import InputError, RunBusyError, RunError, RunMismatchError
from hfembed.events import Reporter, silent
from hfembed.hub import ModelSource
from hfembed.index.finish import finish
from hfembed.index.heads import READ_TOGETHER, HeadReader, choose_heads
from hfembed.index.known import Known, hashes
from hfembed.index.manifest import IndexManifest, State, read_manifest, write_place
from hfembed.index.sources import count_rows, documents_file, find_model, read_blocks
from hfembed.index.store import KEY, TEXT, Store
from hfembed.place import Place, find_place
from hfembed.recipe import Head
from hfembed.resources import local_path
from hfembed.run import INDEX_LAYOUT, hash_json, hold
from hfembed.stage import require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

EXACT_BELOW = 50_000
# Texts that the precision of the arithmetic is measured on.
FIRST_TEXTS = 1_000


@dataclass(frozen=True)
class Settings:
    """How an index is built. exact_below: from how many documents on a search compares with some of them only.

    heads: those of the model that it is to hold; all that the model has where none are named.
    """

    exact_below: int = EXACT_BELOW
    force: bool = False
    heads: tuple[Head, ...] | None = None


@dataclass(frozen=True)
class Built:
    """What a build did, and what the index says of itself now."""

    manifest: IndexManifest
    new: int
    changed: int
    removed: int
    unchanged: int
    encoded: int

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        counts = {name: getattr(self, name) for name in ("new", "changed", "removed", "unchanged", "encoded")}
        return {**counts, **self.manifest.model_dump()}


def build_index(
    corpus: str,
    model: str,
    folder: Path,
    settings: Settings | None = None,
    report: Reporter | None = None,
    load: Callable[[ModelSource], SentenceTransformer] | None = None,
) -> Built:
    """Index a corpus under a model in a folder, or bring the index there up to date.

    load: where the model may be in memory already.
    """
    require("index", "lancedb")
    require("train", "torch", "sentence_transformers")
    settings, report = settings or Settings(), report or silent()
    place, found = find_place(corpus), find_model(model)
    if place.is_index and folder.exists() and local_path(corpus) is not None and folder.samefile(corpus):
        raise InputError(f"'{folder}' is the corpus, and cannot be its own index.", "Name another folder with --out.")
    _refuse_foreign(folder)
    with hold_index(folder):
        before = _before(folder, found[1], settings)
        place.cache.mkdir(parents=True, exist_ok=True)
        # Two that write to one store of vectors would spoil it.
        with FileLock(place.cache / f"{hash_json([found[1].fingerprint])[:16]}.lock"):
            return _Build(place, found, folder, settings, report, before, load).run()


class _Build:
    """One build, with what all of its steps need."""

    def __init__(
        self,
        place: Place,
        model: tuple[str, ModelSource],
        folder: Path,
        settings: Settings,
        report: Reporter,
        before: IndexManifest | None,
        load: Callable[[ModelSource], SentenceTransformer] | None,
    ) -> None:
        self.place, self.corpus, self.folder = place, place.name, folder
        self.settings, self.report = settings, report
        self.name, self.source = model
        self.before, self.embedder = before, Embedder(self.source, place.cache, report, load)
        # It encodes block by block, and its progress is part of ours.
        self.quiet = Embedder(self.source, place.cache, load=lambda _: self.embedder.model)
        self.encoded = 0
        self.heads = choose_heads(self.source, settings.heads, before, report)
        self.reader = HeadReader(self.source, self.embedder, folder, self.heads) if self.heads else None

    def run(self) -> Built:
        started = time.monotonic()
        manifest = self._begin()
        file = documents_file(self.place, self.folder, self.report)
        store = self._store(manifest.similarity)
        known = Known(store)
        new, changed, same = self._count(file, known)
        if self.reader:
            self.reader.note_size(file, new + changed, self.report)
        self._write(file, store, known, new + changed)
        gone = known.left(store)
        store.remove(gone)
        counts = {"new": new, "changed": changed, "removed": len(gone), "unchanged": same}
        if new + changed + len(gone) or self._unfinished():
            moved = (new + changed + len(gone)) / max(1, len(store))
            manifest = finish(store, manifest, self.embedder, self.reader, local_path(self.corpus), moved, self.report)
            manifest = manifest.model_copy(update={"seconds": round(time.monotonic() - started, 1)})
            manifest.write(self.folder)
        elif self.before is not None:
            manifest = self.before
            manifest.write(self.folder)
        (self.folder / INDEX_LAYOUT.documents).unlink(missing_ok=True)
        return Built(manifest, **counts, encoded=self.encoded)

    def _begin(self) -> IndexManifest:
        """Write down whose index this is before anything is in it: another model is refused from here on."""
        begun = self.before or IndexManifest(
            state=State.BUILDING,
            model=self.source.to_json(),
            prompts=hash_json({role: prompt_of(self.embedder.model, role) for role in Role}),
            similarity="dot" if keeps_lengths(self.embedder.model) else "cosine",
        )
        manifest = begun.model_copy(
            update={
                "state": State.BUILDING,
                "hfembed": __version__,
                "corpus": self.corpus if local_path(self.corpus) is None else Path(self.corpus).resolve().name,
                "exact_below": self.settings.exact_below,
                "heads": {str(head): weight for head, weight in self.heads.items()},
            }
        )
        manifest.write(self.folder)
        write_place(self.folder, self.name)
        return manifest

    def _store(self, similarity: str) -> Store:
        try:
            return Store(self.folder, similarity)
        except RunError:
            if self.before is None or self.before.state is State.DONE:
                raise
            # The build before this one was killed as it made the table: there is nothing in it to lose.
            shutil.rmtree(self.folder / INDEX_LAYOUT.table_folder, ignore_errors=True)
            return Store(self.folder, similarity)

    def _unfinished(self) -> bool:
        before = self.before
        return before is None or before.state is not State.DONE or before.exact_below != self.settings.exact_below

    def _count(self, file: Path, known: Known) -> tuple[int, int, int]:
        new, changed, total = 0, 0, 0
        task = self.report.task("looking for what changed", count_rows(file), "documents")
        for rows in read_blocks(file):
            task.advance(len(rows))
            fresh, other = known.meet(hashes(rows["id"].to_pylist()), rows[KEY].to_numpy())
            new, changed, total = new + int(fresh.sum()), changed + int(other.sum()), total + len(rows)
        task.finish()
        return new, changed, total - new - changed

    def _write(self, file: Path, store: Store, known: Known, total: int) -> None:
        if not total:
            return
        task = self.report.task(f"indexing with {self.source.name}", total, "documents")
        for rows in read_blocks(file):
            fresh, other = known.meet(hashes(rows["id"].to_pylist()), rows[KEY].to_numpy())
            for chosen, write in ((fresh, store.add), (other, store.replace)):
                if chosen.any():
                    part = rows.filter(pa.array(chosen))
                    # Token by token a text takes longer and far more room: less of that is lost with a killed build.
                    size = READ_TOGETHER if self.reader else len(part)
                    for start in range(0, len(part), size):
                        written = part.slice(start, size)
                        write(*self._read(written))
                        task.advance(len(written))
        task.finish()

    def _read(self, rows: pa.Table) -> tuple[pa.Table, Vectors]:
        texts = rows[TEXT].to_pylist()
        self.embedder.precision(texts[:FIRST_TEXTS])
        if self.reader:
            self.encoded += len(rows)
            return self.reader.read(rows)
        self.encoded += self.quiet.lacks(texts)
        return rows, self.quiet.documents(texts)


def hold_index(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder of an index for this process alone."""
    busy = RunBusyError(f"Another process is building '{folder}'.", "Wait for it, or name another folder with --out.")
    return hold(folder / INDEX_LAYOUT.lock, busy)


def _before(folder: Path, source: ModelSource, settings: Settings) -> IndexManifest | None:
    """Return what the index in a folder said of itself; nothing where it begins anew. Refuse one of another model."""
    if settings.force:
        for part in INDEX_LAYOUT.folders:
            shutil.rmtree(folder / part, ignore_errors=True)
        (folder / INDEX_LAYOUT.manifest).unlink(missing_ok=True)
        return None
    before = read_manifest(folder)
    if before is not None and before.model.get("fingerprint") != source.fingerprint:
        raise RunMismatchError(
            f"The index in '{folder}' is of the model '{before.model.get('name')}', and '{source.name}' is another: "
            "vectors of two models cannot be compared.",
            "Name another folder with --out, or rebuild it with --force.",
        )
    return before


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something else; it may be someone's only copy."""
    if folder.is_dir() and not (folder / INDEX_LAYOUT.manifest).is_file():
        ours = {INDEX_LAYOUT.place, INDEX_LAYOUT.lock, INDEX_LAYOUT.documents}
        others = sorted({file.name for file in folder.iterdir()} - ours)
        if others:
            raise RunError(
                f"'{folder}' is where the index would go, but it holds something else: '{others[0]}'.",
                "Name another folder with --out.",
            )
