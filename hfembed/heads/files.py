"""The files of the heads: beside the model's own, so that the dense part loads without them.

The `.pt` files are what FlagEmbedding reads; hfembed reads the same weights from safetensors and never unpickles.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfembed.errors import ModelError, first_line
from hfembed.hub import locate_model
from hfembed.recipe import Head
from hfembed.run import write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hfembed.heads.module import TokenHeads

SETTINGS = "heads.json"
# FlagEmbedding's names, without their ending.
FILES = {Head.SPARSE: "sparse_linear", Head.MULTI_VECTOR: "colbert_linear"}
# What all heads find together.
FUSED = "fused"


def has_heads(folder: Path) -> bool:
    """Tell whether a model folder holds heads."""
    return (folder / SETTINGS).is_file()


def read_weights(folder: Path) -> dict[Head, float]:
    """Return how much each head of a model counts in the fused score."""
    return {Head(name): float(weight) for name, weight in _read_settings(folder)["weights"].items()}


def write_heads(heads: TokenHeads, folder: Path) -> None:
    """Write heads into a model folder."""
    import torch
    from safetensors.torch import save_file

    for head, layer in heads.layers().items():
        state = {name: value.detach().cpu().contiguous().float() for name, value in layer.state_dict().items()}
        save_file(state, folder / f"{FILES[head]}.safetensors")
        torch.save(state, folder / f"{FILES[head]}.pt")
    write_json(folder / SETTINGS, {"weights": {str(head): weight for head, weight in heads.weights.items()}})


def read_heads(folder: Path, model: SentenceTransformer) -> TokenHeads:
    """Return the heads in a model folder, for the model that was loaded from it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from hfembed.heads.module import TokenHeads

    weights = read_weights(folder)
    try:
        states = {head: load_file(folder / f"{FILES[head]}.safetensors") for head in FILES if head in weights}
        widths = {head: len(state["weight"]) for head, state in states.items()}
        heads = TokenHeads.of(model, weights, dimensions=widths.get(Head.MULTI_VECTOR))
        for head, layer in heads.layers().items():
            layer.load_state_dict(states[head])
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ModelError(f"The heads in '{folder}' cannot be read: {first_line(error)}") from error
    return heads


def load_heads(name: str) -> SentenceTransformer:
    """Load a model with its heads: what it makes of a text holds the weights and vectors of its tokens, too.

    name: a folder, or a model of the Hub that was trained with heads.
    """
    from hfembed.embed import load_model

    source = locate_model(name)
    if not has_heads(source.path):
        raise ModelError(
            f"'{name}' has no heads: it makes one vector of a text and nothing else.",
            "Train one: hfembed run --preset neuromap",
        )
    model = load_model(source)
    model.append(read_heads(source.path, model))
    return model


def headed(model: SentenceTransformer, folder: Path, heads: Collection[Head] = tuple(Head)) -> SentenceTransformer:
    """Return a model with its heads, or some of them; the model itself stays without, and both share their weights."""
    from sentence_transformers import SentenceTransformer

    behind = read_heads(folder, model)
    behind.keep(heads)
    return SentenceTransformer(modules=[*model, behind], prompts=dict(model.prompts), device=str(model.device))


def _read_settings(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"'{folder / SETTINGS}' cannot be read: {error}") from error
    return found
