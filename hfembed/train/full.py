"""full: all weights of the encoder learn, or only its upper layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hfembed.errors import StageError
from hfembed.hub import ModelSource
from hfembed.recipe import Tuning

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer


@contextmanager
def full(model: SentenceTransformer, source: ModelSource, phase: Tuning) -> Iterator[SentenceTransformer]:
    """Yield the model with the layers that learn; afterwards all of it is as it was, but for what they learned."""
    if phase.layers is not None:
        layers = layers_of(model)
        if phase.layers > len(layers):
            raise StageError(
                f"A phase lets {phase.layers} layers of '{source.name}' learn, which has {len(layers)}.",
                f"Set its layers to at most {len(layers)}, or leave them out.",
            )
        learning = {id(weight) for layer in layers[-phase.layers :] for weight in layer.parameters()}
        learning |= {id(weight) for module in list(model)[1:] for weight in module.parameters()}
        for weight in model.parameters():
            weight.requires_grad_(id(weight) in learning)
    yield model
    for weight in model.parameters():
        weight.requires_grad_(True)


def layers_of(model: SentenceTransformer) -> list[torch.nn.Module]:
    """Return the encoder's stack of layers, lowest first."""
    import torch

    stacks = [list(module) for module in model[0].modules() if isinstance(module, torch.nn.ModuleList)]
    if not any(stacks):
        raise StageError("The base model has no stack of layers.", "Choose a transformer encoder as --base.")
    return max(stacks, key=len)
