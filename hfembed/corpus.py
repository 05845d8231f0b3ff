"""Corpus: where documents come from, and how the stages read those that pull kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.errors import CorpusError, choices
from hfembed.hub import REPO_ID, dataset_file, dataset_files, dataset_revision
from hfembed.resources import local_path, sample_folder
from hfembed.run import hash_file, hash_json

# The name of the corpus that ships with hfembed, wherever no file or folder is called so.
SAMPLE = "sample"
TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
TEXTS = (".txt", ".md", ".markdown", ".html", ".htm", ".pdf", ".docx")
ONTOLOGIES = (".obo", ".ttl", ".owl", ".rdf")
FILES = (*TABLES, *TEXTS, *ONTOLOGIES)
HUB_FILES = "hf://datasets/"
HUB_SOURCE = re.compile(r"^(?P<repo>[^@:]+)(?::(?P<config>[^@:]+))?(?:@(?P<revision>[^@:]+))?$")

# What pull writes. group: documents that may not stand in different splits, named after the smallest id among them.
# document: the document of the source that a chunk was cut from; the id itself where nothing was cut.
DOCUMENTS = pa.schema([(name, pa.string()) for name in ("id", "title", "text", "group", "document")])


class CorpusKind(StrEnum):
    """The forms a corpus comes in."""

    BEIR = "beir"
    TABLES = "tables"
    TEXTS = "texts"
    ONTOLOGIES = "ontologies"
    HUB = "hub"


@dataclass(frozen=True)
class CorpusSource:
    """A corpus that was found: what it is, where, and the fingerprint of its content.

    files: on this machine. remote: paths in `repo`, for files of the Hub.
    """

    kind: CorpusKind
    name: str
    fingerprint: str
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    repo: str | None = None
    config: str | None = None
    revision: str | None = None
    remote: tuple[str, ...] = ()

    def local_files(self) -> Iterator[tuple[Path, str]]:
        """Yield every file with the name it goes by, each downloaded only when its turn comes."""
        for file in self.files:
            yield file, file.relative_to(self.folder).as_posix() if self.folder else file.name
        for path in self.remote:
            assert self.repo is not None and self.revision is not None
            yield dataset_file(self.repo, self.revision, path), path

    def suffixes(self) -> set[str]:
        """Return the suffixes of all files, in lower case."""
        return {file.suffix.lower() for file in (*self.files, *map(PurePosixPath, self.remote))}

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest keeps; the paths on this machine are no one else's concern."""
        values = asdict(self)
        del values["files"], values["folder"], values["remote"]
        return {key: value for key, value in values.items() if value is not None}


def locate_corpus(source: str) -> CorpusSource:
    """Find a corpus: a file, a folder, `sample`, a Hub dataset `org/name[:config][@revision]`, or its files `hf://`."""
    path = local_path(source)
    if path is not None:
        return _local_corpus(path)
    if source == SAMPLE:
        return _local_corpus(sample_folder())
    if source.startswith(HUB_FILES):
        return _hub_files(source)
    match = HUB_SOURCE.match(source)
    if match is None or not REPO_ID.match(match["repo"]) or source.lower().endswith(FILES):
        raise CorpusError(
            f"There is no file or folder '{source}', and it is not a Hub dataset id either.",
            "Name a file (.jsonl .csv .tsv .parquet), a folder (BEIR, tables, .txt .md .html .pdf .docx, .obo .ttl .owl), "
            "org/name on the Hub, or hf://datasets/org/name/PATH.",
        )
    repo, config = match["repo"], match["config"]
    revision = dataset_revision(repo, match["revision"])
    fingerprint = hash_json([repo, config, revision])
    return CorpusSource(CorpusKind.HUB, source, fingerprint, repo=repo, config=config, revision=revision)


def _local_corpus(path: Path) -> CorpusSource:
    if path.is_file():
        kind = kind_of(path.suffix)
        if kind is None:
            raise CorpusError(
                f"'{path}' is a {path.suffix or 'nameless'} file; a file must be {choices(FILES)}.",
                "Convert it, or name a folder of such files.",
            )
        return _of_files(kind, path, (path,))
    if (path / "corpus.jsonl").is_file():
        return _of_files(CorpusKind.BEIR, path, (path / "corpus.jsonl",))
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not _is_hidden(file.relative_to(path))]
    kinds = (CorpusKind.TEXTS, CorpusKind.TABLES, CorpusKind.ONTOLOGIES)
    found = {kind: tuple(file for file in files if kind_of(file.suffix) is kind) for kind in kinds}
    # A README beside tables is no corpus, nor is a list of names beside texts: the larger part counts.
    kind = max(found, key=lambda kind: sum(file.stat().st_size for file in found[kind]))
    if found[kind]:
        return _of_files(kind, path, found[kind])
    raise CorpusError(
        f"'{path}' holds no documents: no corpus.jsonl and no {', '.join(FILES)} file.",
        "Name a folder that holds one of these.",
    )


def kind_of(suffix: str) -> CorpusKind | None:
    """Return what a file with this suffix is part of."""
    kinds = {CorpusKind.TABLES: TABLES, CorpusKind.TEXTS: TEXTS, CorpusKind.ONTOLOGIES: ONTOLOGIES}
    return next((kind for kind, suffixes in kinds.items() if suffix.lower() in suffixes), None)


def _hub_files(source: str) -> CorpusSource:
    found = dataset_files(source)
    for kind in (CorpusKind.TABLES, CorpusKind.ONTOLOGIES, CorpusKind.TEXTS):
        paths = tuple(path for path in found.paths if kind_of(PurePosixPath(path).suffix) is kind)
        if paths:
            fingerprint = hash_json([found.repo, found.revision, paths])
            return CorpusSource(kind, source, fingerprint, repo=found.repo, revision=found.revision, remote=paths)
    raise CorpusError(
        f"'{source}' names {_some(found.paths)}; a file must be {choices(FILES)}.",
        f"--corpus {found.repo} reads the whole dataset.",
    )


def _some(names: Iterable[str], most: int = 3) -> str:
    first = list(names)
    return ", ".join(first[:most]) + (f" and {len(first) - most:,} more" if len(first) > most else "")


def _is_hidden(file: Path) -> bool:
    return any(part.startswith(".") for part in file.parts)


def _of_files(kind: CorpusKind, path: Path, files: tuple[Path, ...]) -> CorpusSource:
    folder = path if path.is_dir() else path.parent
    fingerprint = hash_json([kind, [[file.relative_to(folder).as_posix(), hash_file(file)] for file in files]])
    return CorpusSource(kind, path.resolve().name, fingerprint, files=files, folder=folder)


@dataclass(frozen=True)
class Documents:
    """The documents of a run, column by column."""

    ids: list[str]
    titles: list[str]
    bodies: list[str]
    groups: list[str]
    documents: list[str]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.ids)

    @classmethod
    def read(cls, file: Path) -> Documents:
        """Read what pull wrote."""
        table = pq.read_table(file, schema=DOCUMENTS)
        return cls(*(table.column(name).to_pylist() for name in DOCUMENTS.names))

    def texts(self) -> list[str]:
        """Return the texts as they are embedded, title first (the way mteb does it)."""
        return [join_title(title, body) for title, body in zip(self.titles, self.bodies, strict=True)]


def join_title(title: str, body: str) -> str:
    """Return a document's text as it is embedded."""
    return f"{title} {body}".strip()
