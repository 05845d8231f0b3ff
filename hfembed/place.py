"""Place: where a corpus is found, under which key, and where what is made of its documents is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from hfembed.corpus import DOCUMENTS, CorpusKind, CorpusSource, locate_corpus
from hfembed.errors import CorpusError, choices
from hfembed.hub import dataset_paths
from hfembed.resources import local_path, user_cache
from hfembed.run import CACHE_LAYOUT, INDEX_LAYOUT, LAYOUT, hash_json

# What a folder or a repo has that is an index.
INDEX_PARTS = (INDEX_LAYOUT.manifest, INDEX_LAYOUT.table_folder)
# So much of a key tells two of them apart.
KEY_DIGITS = 16


@dataclass(frozen=True)
class Place:
    """A corpus that was found and not read yet: its key changes with its content.

    documents: where they stand in one file, if they do. is_index: it is an index that `hfembed index` built. commit: of
    a dataset of the Hub.
    """

    name: str
    key: str
    cache: Path
    documents: Path
    is_index: bool = False
    commit: str | None = None


def cache_folder() -> Path:
    """Return where embeddings live that belong to no run."""
    return user_cache() / LAYOUT.embeddings


def find_place(corpus: str) -> Place:
    """Find a finished run, an index, or anything that `pull` reads; the Hub is asked for a dataset's newest commit."""
    folder = local_path(corpus)
    if folder is not None and (folder / LAYOUT.documents).is_file():
        file = folder / LAYOUT.documents
        _refuse_older(corpus, file)
        return Place(corpus, _key_of(file), folder / LAYOUT.embeddings, file)
    if folder is not None and is_index(folder):
        key, home = _key_of(folder / INDEX_LAYOUT.manifest), _home(str(folder.resolve()))
        return Place(corpus, key, home, _kept(home, key), is_index=True)
    source = locate_corpus(corpus)
    home = _home(source.repo or str(source.folder))
    kept = _kept(home, source.fingerprint)
    return Place(corpus, source.fingerprint, home, kept, _is_published_index(source), source.revision)


def _refuse_older(corpus: str, file: Path) -> None:
    """Refuse documents that an older hfembed pulled, and that say less of themselves than is asked for now."""
    if missing := set(DOCUMENTS.names) - set(pq.read_schema(file).names):
        raise CorpusError(
            f"The documents of '{corpus}' were pulled by an older hfembed, without: {choices(sorted(missing))}.",
            f"hfembed run --run {corpus} brings the run up to date.",
        )


def is_index(folder: Path) -> bool:
    """Tell whether a folder is an index that `hfembed index` made."""
    return all((folder / part).exists() for part in INDEX_PARTS)


def _is_published_index(source: CorpusSource) -> bool:
    if source.kind is not CorpusKind.HUB or source.config is not None:
        return False
    return dataset_paths(str(source.repo), str(source.revision), INDEX_PARTS) == set(INDEX_PARTS)


def _key_of(file: Path) -> str:
    written = file.stat()
    return hash_json([str(file.resolve()), written.st_mtime_ns, written.st_size])


def _home(name: str) -> Path:
    return cache_folder() / hash_json([name])[:KEY_DIGITS]


def _kept(home: Path, key: str) -> Path:
    return home / CACHE_LAYOUT.documents.format(key=key[:KEY_DIGITS])
