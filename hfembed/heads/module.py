"""TokenHeads: a module behind pooling that gives every token of a text a weight and a vector of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Module
from torch import nn

from hfembed.encoder import keeps_lengths
from hfembed.errors import ModelError
from hfembed.recipe import Head, Heads

# What a text gets; the vectors leave out its first token, which stands for the whole.
TOKEN_WEIGHTS, TOKEN_VECTORS, TOKEN_MASK = "token_weights", "token_vectors", "token_vector_mask"
# Every token weighs this much before anything is learned: shared words count, and all of them alike.
FIRST_WEIGHT = 0.25
HIDDEN, MASK, IDS = "token_embeddings", "attention_mask", "input_ids"
Features = dict[str, Any]


class TokenHeads(Module):  # type: ignore[misc]
    """Weights (`sparse`) and vectors (`multi_vector`) of tokens, from what the transformer says of each."""

    def __init__(self, width: int, weights: Mapping[Head, float], silent: list[int], dimensions: int | None) -> None:
        """Read vectors of `width`; tokens in `silent` weigh nothing. dimensions: of the vectors of tokens."""
        super().__init__()
        self.weights = dict(weights)
        self.sparse_linear = _level(width) if Head.SPARSE in weights else None
        self.colbert_linear = _unchanged(width, dimensions or width) if Head.MULTI_VECTOR in weights else None
        self.register_buffer("silent", torch.tensor(silent, dtype=torch.long), persistent=False)

    @classmethod
    def of(cls, model: SentenceTransformer, weights: Mapping[Head, float], dimensions: int | None) -> TokenHeads:
        """Return new heads for a model; the same ones every time."""
        if keeps_lengths(model):
            raise ModelError(
                "Heads add up cosines with other scores, and the base's vectors have lengths of their own.",
                "--set encoder.normalize=true",
            )
        if model.tokenizer.padding_side != "right":
            raise ModelError(
                "Heads are for encoders: the base pads on the left, so no place is that of the first token.",
                "Choose an encoder such as FremyCompany/BioLORD-2023 as --base.",
            )
        width = int(model[0].auto_model.config.hidden_size)
        heads = cls(width, weights, list(model.tokenizer.all_special_ids), dimensions)
        heads.to(model.device)
        return heads

    def layers(self) -> dict[Head, nn.Linear]:
        """Return what learns, by head."""
        found = {Head.SPARSE: self.sparse_linear, Head.MULTI_VECTOR: self.colbert_linear}
        return {head: layer for head, layer in found.items() if layer is not None}

    def keep(self, heads: Collection[Head]) -> None:
        """Compute some of the heads only from now on."""
        self.sparse_linear = self.sparse_linear if Head.SPARSE in heads else None
        self.colbert_linear = self.colbert_linear if Head.MULTI_VECTOR in heads else None

    def forward(self, features: Features, **_: Any) -> Features:
        """Add weights and vectors of tokens to what is known of texts."""
        hidden, mask = features[HIDDEN], features[MASK]
        if self.sparse_linear is not None:
            heard = mask.bool() & ~torch.isin(features[IDS], self.silent)
            features[TOKEN_WEIGHTS] = torch.relu(self.sparse_linear(hidden)).squeeze(-1) * heard
        if self.colbert_linear is not None:
            features[TOKEN_MASK] = mask[:, 1:].bool()
            features[TOKEN_VECTORS] = nn.functional.normalize(self.colbert_linear(hidden[:, 1:]), dim=-1)
        return features

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the files of the heads, as sentence-transformers asks for it."""
        from hfembed.heads.files import write_heads

        write_heads(self, Path(output_path))


def add_heads(model: SentenceTransformer, settings: Heads) -> SentenceTransformer:
    """Give a model the heads that it is to have, if any."""
    if settings.used():
        model.append(TokenHeads.of(model, settings.used(), settings.dimensions))
    return model


def heads_of(model: SentenceTransformer) -> TokenHeads | None:
    """Return the heads of a model, if it has any."""
    return next((module for module in model if isinstance(module, TokenHeads)), None)


def without_heads(model: SentenceTransformer) -> TokenHeads | None:
    """Take the heads off a model, and return them: what is left is a plain sentence-transformers model."""
    heads = heads_of(model)
    if heads is not None:
        del model[list(model).index(heads)]
    return heads


def _level(width: int) -> nn.Linear:
    layer = nn.Linear(width, 1)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, FIRST_WEIGHT)
    return layer


def _unchanged(width: int, dimensions: int) -> nn.Linear:
    """Return a layer that gives a token's vector as it is: comparing those works before anything is learned."""
    layer = nn.Linear(width, dimensions)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
