"""What an index is made of: the documents of a corpus, as a file that is read in parts, and a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.corpus import DOCUMENTS, join_title, locate_corpus
from hfembed.errors import InputError
from hfembed.events import Reporter
from hfembed.hub import REPO_ID, ModelSource, dataset_snapshot
from hfembed.index.foreign import names_others
from hfembed.index.known import hashes
from hfembed.index.manifest import finished
from hfembed.index.store import KEY, TEXT, Store
from hfembed.place import Place
from hfembed.pull import read_corpus
from hfembed.pull.documents import Document, Tally
from hfembed.recipe import Pull
from hfembed.resources import local_path
from hfembed.run import INDEX_LAYOUT, LAYOUT
from hfembed.stage import locate_encoder, model_folder

WRITE_ROWS = 4_096
# Documents that are embedded and written at a time.
BLOCK = 4_096
APART = "\0"


def find_model(name: str) -> tuple[str, ModelSource]:
    """Find a model by a folder, a run or a Hub id; return under which name it is found again, too."""
    folder = local_path(name)
    return name if folder is None else str(model_folder(folder).resolve()), locate_encoder(name)


def model_of(corpus: str) -> str:
    """Return the model that goes with a corpus where none is named: that of a finished run."""
    folder = local_path(corpus)
    if folder is None or not (folder / LAYOUT.model).is_dir():
        raise InputError(f"No model is named, and '{corpus}' is no finished run.", "Add --model MODEL.")
    return corpus


def find_index(name: str) -> Path:
    """Return the folder of an index: a folder, or a dataset repo of the Hub (`org/name[@revision]`), downloaded."""
    folder = local_path(name)
    if folder is not None and folder.is_dir():
        return folder
    repo, _, revision = name.partition("@")
    if not REPO_ID.match(repo):
        raise InputError(f"There is no index '{name}'.", f"hfembed index CORPUS --model MODEL --out {name}")
    folder = dataset_snapshot(repo, revision or None)
    _refuse_elsewhere(name, folder)
    return folder


def _refuse_elsewhere(name: str, folder: Path) -> None:
    """Refuse an index of somebody's whose table names files beside its own: they would be read on this machine."""
    if names_others(folder / INDEX_LAYOUT.table_folder):
        raise InputError(
            f"The index '{name}' is built on files that are not in it, and is not opened.",
            "Build it anew and publish that: hfembed index CORPUS --model MODEL --out DIR --repo ORG/NAME",
        )


def documents_file(place: Place, folder: Path, report: Reporter) -> Path:
    """Return the documents of a run; of any other corpus those that were read into a file below `folder`."""
    if place.documents.is_file():
        return place.documents
    file = folder / INDEX_LAYOUT.documents
    if place.is_index:
        with pq.ParquetWriter(file, DOCUMENTS) as writer:
            for table in indexed_documents(find_index(place.name)):
                writer.write_table(table)
        return file
    tally = Tally()
    write_documents(read_corpus(locate_corpus(place.name), Pull(), tally, report), file)
    if tally.dropped:
        left_out = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in tally.dropped.items())
        report.warn(f"Of {tally.read:,} records {tally.kept:,} are documents; left out: {left_out}.")
    return file


def write_documents(documents: Iterable[Document], file: Path) -> None:
    """Write documents as they come, some of them in memory at a time."""
    left = iter(documents)
    with pq.ParquetWriter(file, DOCUMENTS) as writer:
        while batch := list(itertools.islice(left, WRITE_ROWS)):
            # Which of them are alike is looked for by `pull` alone: here each is a group of its own.
            columns = {
                name: [getattr(one, "id" if name == "group" else name) for one in batch] for name in DOCUMENTS.names
            }
            writer.write_table(pa.table(columns, schema=DOCUMENTS))


def indexed_documents(folder: Path) -> Iterator[pa.Table]:
    """Yield the documents of an index, as `pull` writes them."""
    for batch in Store(folder, finished(folder).similarity).batches(*DOCUMENTS.names):
        rows = batch.select(DOCUMENTS.names).to_pydict()
        rows[TEXT] = [body_of(*pair) for pair in zip(rows["title"], rows[TEXT], strict=True)]
        yield pa.table(rows, schema=DOCUMENTS)


def body_of(title: str, text: str) -> str:
    """Return a document's text without the title that `join_title` put before it."""
    if text == title:
        return ""
    return text.removeprefix(f"{title} ") if title else text


def count_rows(file: Path) -> int:
    """Return how many documents are in a file."""
    return int(pq.read_metadata(file).num_rows)


def read_blocks(file: Path) -> Iterator[pa.Table]:
    """Yield documents as the index keeps them: with the text as it is embedded, and a key that changes with them."""
    with pq.ParquetFile(file) as source:
        for batch in source.iter_batches(BLOCK, columns=DOCUMENTS.names):
            rows = batch.to_pydict()
            texts = [join_title(*pair) for pair in zip(rows["title"], rows["text"], strict=True)]
            whole = [APART.join(values) for values in zip(*(rows[name] for name in DOCUMENTS.names), strict=True)]
            yield pa.table({**rows, TEXT: texts, KEY: pa.array(hashes(whole))})
