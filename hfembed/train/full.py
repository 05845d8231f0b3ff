"""full: all weights of the encoder learn, or only its upper layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
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
    lower: list[torch.nn.Module] = []
    if phase.layers is not None:
        lower, upper = _split_layers(model, source, phase.layers)
        learning = {id(weight) for module in (*upper, *list(model)[1:]) for weight in module.parameters()}
        for weight in model.parameters():
            weight.requires_grad_(id(weight) in learning)
    # Dropout is for learning from labels; without it attention is several times as fast, too.
    with _without_dropout(lower if phase.labelled() else [model[0]]):
        yield model
    for weight in model.parameters():
        weight.requires_grad_(True)


def _split_layers(
    model: SentenceTransformer, source: ModelSource, count: int
) -> tuple[list[torch.nn.Module], list[torch.nn.Module]]:
    """Return the layers that stay as they are and those that learn, `count` of them."""
    layers = layers_of(model)
    if count > len(layers):
        raise StageError(
            f"A phase lets {count} layers of '{source.name}' learn, which has {len(layers)}.",
            f"Set its layers to at most {len(layers)}, or leave them out.",
        )
    return layers[:-count], layers[-count:]


@contextmanager
def _without_dropout(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Keep modules as they are in use, whatever the trainer says of the whole model."""
    kept = list(modules)
    for module in kept:
        module.eval()
        module.train = partial(_stay, module)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        for module in kept:
            del module.train


def _stay(module: torch.nn.Module, mode: bool = True) -> torch.nn.Module:
    return module


def layers_of(model: SentenceTransformer) -> list[torch.nn.Module]:
    """Return the encoder's stack of layers, lowest first."""
    import torch

    stacks = [list(module) for module in model[0].modules() if isinstance(module, torch.nn.ModuleList)]
    if not any(stacks):
        raise StageError("The base model has no stack of layers.", "Choose a transformer encoder as --base.")
    return max(stacks, key=len)
