"""What transformers.js makes of the files, computed in onnxruntime: its length limit and how it cuts texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from compat.text_embeddings_inference import Vectors, load_graph, pooled, token_ids, unit


def is_too_long(folder: Path, texts: Sequence[str]) -> list[bool]:
    """Tell of each text whether it has more tokens than the tokenizer's configuration allows."""
    limit = _limit(folder)
    return [len(ids) > limit for ids in token_ids(folder, texts, None)]


def graph_vectors(folder: Path, graph: Path, texts: Sequence[str]) -> Vectors:
    """Return the unit vectors of one graph: the mean of tokens that are cut last of all.

    A text that is too long has its special tokens by then, so the last of them, [SEP], is lost.
    """
    call, limit = load_graph(graph), _limit(folder)
    return unit([pooled("mean", *call(ids[:limit])) for ids in token_ids(folder, texts, None)])


def _limit(folder: Path) -> int:
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return int(config.get("model_max_length", 10**9))
