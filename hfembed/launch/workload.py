"""Workload: how many documents a run has, how long they are, and how large its models are; nothing is downloaded whole."""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.corpus import TABLES, CorpusKind, CorpusSource, locate_corpus
from hfembed.errors import HubError
from hfembed.events import silent
from hfembed.hub.facts import dataset_rows, model_shapes
from hfembed.hub.models import packaged_model
from hfembed.hub.tokenizers import locate_tokenizer
from hfembed.pipeline import manifests
from hfembed.pull.documents import Tally, read_corpus
from hfembed.recipe import ChunkBy, Recipe
from hfembed.resources import local_path
from hfembed.run import Run

SAMPLED = 300
CHARS_PER_TOKEN = 4.4
# Where nothing is known: how long a document is, and what its row takes.
USUAL_CHARS, USUAL_ROW = 1_200.0, 1_500.0
USUAL_LIMIT = 512
# How far off a count may be, as a factor.
COUNTED, SAMPLED_SURE, GUESSED = 1.0, 1.2, 3.0
# What the tensors of embeddings are called: they are looked up, and cost nothing to compute.
LOOKED_UP = ("embedding", "embed_tokens", "wte", "wpe")


@dataclass(frozen=True)
class Size:
    """How much text there is: documents after cutting, characters and tokens of one; sure: how far off, as a factor."""

    documents: int
    chars: float
    tokens: float
    sure: float


@dataclass(frozen=True)
class Weights:
    """How large a model is. computed: parameters that every token is multiplied with. width: of its vectors."""

    parameters: int
    computed: int
    layers: int
    width: int
    sure: float = 1.0


# As large as most encoders are.
USUAL_MODEL = Weights(110_000_000, 86_000_000, 12, 768, GUESSED)


@dataclass(frozen=True)
class Workload:
    """All that the cost of a run follows from, besides its recipe. sent: bytes that travel."""

    size: Size
    base: Weights
    writer: Weights | None
    sent: int


def measure_workload(recipe: Recipe, run: Run, sent: int) -> Workload:
    """Look at what a recipe names: counted where it is here or pulled already, asked for where it is on the Hub."""
    limit = locate_tokenizer(recipe.base).reading(recipe.encoder.max_length).max_tokens or USUAL_LIMIT
    pulled = manifests(run).get("pull")
    size = (
        _pulled_size(pulled.counts, pulled.facts, limit)
        if pulled
        else _corpus_size(recipe, locate_corpus(str(recipe.corpus)), limit)
    )
    local_writer = recipe.generate.method == "model" and recipe.generate.llm.model
    return Workload(
        size=size,
        base=model_weights(recipe.base),
        writer=model_weights(str(local_writer)) if local_writer else None,
        sent=sent,
    )


def model_weights(name: str) -> Weights:
    """Return the size of a model from the heads of its weight files."""
    shapes = _shapes(name)
    if not shapes:
        return USUAL_MODEL
    sizes = {tensor: math.prod(shape) for tensor, shape in shapes.items()}
    computed = sum(size for tensor, size in sizes.items() if not any(mark in tensor for mark in LOOKED_UP))
    layers = {part for tensor in shapes for part in tensor.split(".") if part.isdecimal()}
    width = max((shape[-1] for tensor, shape in shapes.items() if len(shape) == 1), default=768)
    return Weights(sum(sizes.values()), computed, max(1, len(layers)), _width(shapes) or width)


def _width(shapes: Mapping[str, list[int]]) -> int:
    """Return the length of a model's vectors: that of a looked-up row; positions are counted beside it, not looked up."""
    rows = [s for name, s in shapes.items() if LOOKED_UP[0] in name and name.endswith("weight") and len(s) == 2]
    return rows[0][1] if rows else 0


def _shapes(name: str) -> dict[str, list[int]]:
    folder = local_path(name)
    if folder is not None and folder.is_dir():
        return _local_shapes(folder)
    try:
        return model_shapes(name)
    except HubError:  # the stage that needs it will say so
        package = packaged_model(name.partition("@")[0])
        return _local_shapes(package) if package else {}


def _local_shapes(folder: Path) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.rglob("*.safetensors")):
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            head = json.loads(handle.read(length))
        shapes |= {name: values["shape"] for name, values in head.items() if name != "__metadata__"}
    return shapes


def _pulled_size(counts: Mapping[str, int], facts: Mapping[str, Any], limit: int) -> Size:
    lengths = facts["lengths"]
    tokens = lengths["median"] * (1.0 if lengths["unit"] == "tokens" else 1.3)
    documents = counts.get("chunks", counts["documents"])
    return Size(documents, tokens * CHARS_PER_TOKEN, min(tokens, limit), COUNTED)


def _corpus_size(recipe: Recipe, source: CorpusSource, limit: int) -> Size:
    rows, sure = _count_rows(source)
    tally = Tally()
    if source.files:
        read = read_corpus(source, recipe.pull, tally, silent())
        # What an ontology holds is known only when all of it is read.
        looked_at = read if source.kind is CorpusKind.ONTOLOGIES else itertools.islice(read, SAMPLED)
        chars = [len(document.title) + len(document.text) for document in looked_at]
    else:
        chars = []
    mean = sum(chars) / len(chars) if chars else USUAL_CHARS
    if source.files and (len(chars) < SAMPLED or source.kind is CorpusKind.ONTOLOGIES):
        rows, sure = len(chars), COUNTED  # all of them were read
    elif chars:
        # A file may hold several documents, and some rows none.
        rows, sure = round(rows * len(chars) / max(1, tally.read)), max(sure, SAMPLED_SURE)
    if recipe.pull.limit:
        rows = min(rows, recipe.pull.limit)
    return _cut(recipe, Size(rows, mean, min(mean / CHARS_PER_TOKEN, limit), sure), limit)


def _cut(recipe: Recipe, whole: Size, limit: int) -> Size:
    """Return the size after documents are cut into chunks, where they are."""
    chunk = recipe.pull.chunk
    if chunk.by is ChunkBy.NONE:
        return whole
    size = float((chunk.size or limit) if chunk.by is not ChunkBy.SENTENCES else (chunk.size or 5) * 25)
    tokens = whole.chars / CHARS_PER_TOKEN
    pieces = max(1.0, tokens / size)
    return Size(
        round(whole.documents * pieces),
        whole.chars / pieces,
        min(tokens / pieces, limit),
        max(whole.sure, SAMPLED_SURE),
    )


def _count_rows(source: CorpusSource) -> tuple[int, float]:
    if source.repo is not None and not source.files:
        return dataset_rows(source.repo, source.config, str(source.revision), USUAL_ROW)
    tables = [file for file in source.files if file.suffix.lower() in TABLES]
    return (sum(map(_rows_of, tables)), COUNTED) if tables else (len(source.files), COUNTED)


def _rows_of(file: Path) -> int:
    if file.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(file).num_rows)
    with file.open("rb") as handle:
        return sum(block.count(b"\n") for block in iter(lambda: handle.read(1 << 20), b""))
