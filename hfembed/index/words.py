"""Words alone: an index of a corpus without vectors, for who asks a large corpus by words and by no model."""

from __future__ import annotations

import shutil
from pathlib import Path

from hfembed import __version__
from hfembed.events import Reporter
from hfembed.index.build import hold_index
from hfembed.index.manifest import IndexManifest, State
from hfembed.index.sources import count_rows, documents_file, read_blocks
from hfembed.index.store import Store
from hfembed.place import Place
from hfembed.run import INDEX_LAYOUT
from hfembed.stage import require


def build_words(place: Place, folder: Path, report: Reporter) -> IndexManifest:
    """Index the words of a corpus in a folder, anew."""
    require("index", "lancedb")
    with hold_index(folder):
        shutil.rmtree(folder / INDEX_LAYOUT.table_folder, ignore_errors=True)
        manifest = IndexManifest(state=State.BUILDING, model={}, hfembed=__version__)
        manifest.write(folder)
        file = documents_file(place, folder, report)
        store, task = Store(folder, manifest.similarity), report.task("indexing words", count_rows(file), "documents")
        for rows in read_blocks(file):
            store.add_words(rows)
            task.advance(len(rows))
        store.settle()
        store.index_words()
        store.settle()
        task.finish()
        manifest = manifest.model_copy(update={"state": State.DONE, "documents": len(store)})
        manifest.write(folder)
        (folder / INDEX_LAYOUT.documents).unlink(missing_ok=True)
    return manifest
