"""Publishing an index: its folder as a dataset repo, which `hfembed search ORG/NAME` searches as it lies there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hfembed.events import Reporter
from hfembed.hub import Published, Upload
from hfembed.index.manifest import IndexManifest, finished
from hfembed.push.card import render_card
from hfembed.push.deliver import deliver
from hfembed.run import INDEX_LAYOUT

CARD, TEMPLATE = "README.md", "index.md"
MESSAGE = "Publish an index with hfembed"
TAGS = ("hfembed", "hfembed-index", "lance", "vector-search")


def publish_index(folder: Path, repo: str, report: Reporter, *, public: bool = False) -> Published:
    """Commit an index to a dataset repo and read it back."""
    manifest = finished(folder)
    if public:
        report.warn("The repo is public, and the index holds the whole text of the corpus.")
    if not manifest.model.get("revision"):
        report.warn(
            "The index is of a model on this machine: who searches it must have the same, and names it by --model."
        )
    files: list[tuple[str, Path | bytes]] = [(CARD, index_card(manifest, repo).encode())]
    files += [(INDEX_LAYOUT.manifest, folder / INDEX_LAYOUT.manifest)]
    for part in INDEX_LAYOUT.folders:
        held = sorted(file for file in (folder / part).rglob("*") if file.is_file())
        files += [(file.relative_to(folder).as_posix(), file) for file in held]
    upload = Upload(repo, "dataset", files, MESSAGE, public, owned=INDEX_LAYOUT.folders)
    with tempfile.TemporaryDirectory(prefix="hfembed-index-") as work:
        return deliver(upload, Path(work), report)


def index_card(manifest: IndexManifest, repo: str) -> str:
    """Return the card of a published index."""
    from hfembed.hub.cards import DatasetCardData

    metadata = DatasetCardData(pretty_name=repo.split("/")[-1], task_categories=["text-retrieval"], tags=list(TAGS))
    return render_card(TEMPLATE, metadata, name=repo.split("/")[-1], repo=repo, index=manifest)
