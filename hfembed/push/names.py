"""Names: what the repos of a run could be called, as long as nobody says otherwise."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from hfembed.corpus import SAMPLE

DATASET_ENDING = "triplets"
LONGEST = 40
ADDRESS = re.compile(r"hf://datasets/([^/@]+/[^/@]+)")
# What a folder of uploads is called says nothing of what is in it.
SAYS_NOTHING = {"", "uploads", "corpus", "data", "documents"}
UNNAMED = "my-documents"


def propose_repos(owner: str, corpus: str | None, base: str) -> tuple[str, str]:
    """Return ids for the repos of model and dataset: `owner/corpus-base` and `owner/corpus-triplets`."""
    name = _plain(corpus or "")
    model = _slug(PurePosixPath(base.partition("@")[0]).name) or "model"
    return f"{owner}/{name}-{model}", f"{owner}/{name}-{DATASET_ENDING}"


def _plain(corpus: str) -> str:
    """Return the name in a source of documents: org/name:config@revision, an address, a path."""
    if corpus == SAMPLE:
        return SAMPLE
    if address := ADDRESS.match(corpus):
        corpus = address[1]
    source, _, config = corpus.partition("@")[0].partition(":")
    last = PurePosixPath(source)
    name = last.name.removesuffix(last.suffix) if len(last.suffix) <= 8 else last.name
    words = [] if name.lower() in SAYS_NOTHING else [name]
    return _slug("-".join([*words, config])) or UNNAMED


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")[:LONGEST].strip("-.")
