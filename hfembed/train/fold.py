"""Folding: the last encoder layer learns to give the mapped vectors by itself.

What is published is then a plain transformer with its own pooling and no extra module. A Dense layer at
the end would be dropped without a word by every engine that reads the bare transformer or its ONNX file,
which would serve the base under the tuned name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hfembed.embed import Precision, Role, Vectors, prompt_of
from hfembed.encoder import EMBEDDING, keeps_lengths, pools_prompts, tokens_of
from hfembed.events import Reporter
from hfembed.recipe import Fold
from hfembed.train.adapter import Map
from hfembed.train.full import layers_of

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

WARMUP_STEPS = 10
# Batches are cut from this many at a time, sorted by length: little padding, still well mixed.
BUCKET_BATCHES = 20
GRADIENT_CLIP = 1.0


def fold_map(
    model: SentenceTransformer,
    texts: list[tuple[str, Role]],
    targets: Vectors,
    settings: Fold,
    precision: Precision,
    seed: int,
    report: Reporter,
) -> None:
    """Train the last encoder layer of `model`, in place, to encode each text as its target vector."""
    import torch
    from torch.nn.functional import cosine_similarity

    lengths_count = keeps_lengths(model)
    parameters = _only_last_layer(model)
    order = list(_batches([len(text) for text, _ in texts], settings.batch_size, seed))
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP_STEPS) * (1 - step / len(order))
    )
    model.eval()  # no dropout: the targets are exact
    for batch in report.each(order, "folding the map into the last layer", len(order), "steps"):
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=precision is Precision.BF16):
            produced = _encode(model, [texts[at] for at in batch]).float()
        wanted = torch.tensor(targets[batch], device=produced.device)
        if lengths_count:  # half of what this is for vectors of length one: their distance in cosine
            loss = ((produced - wanted).square().sum(1) / wanted.square().sum(1)).mean() / 2
        else:
            loss = (1 - cosine_similarity(produced, wanted, dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
        optimizer.step()
        schedule.step()
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def append_dense(model: SentenceTransformer, learned: Map) -> SentenceTransformer:
    """Return the model with the map as a Dense layer: exact, but only sentence-transformers applies it."""
    import torch
    from sentence_transformers import SentenceTransformer, models

    width = len(learned.weights)
    dense = models.Dense(width, width, bias=False, activation_function=torch.nn.Identity())
    dense.linear.weight.data = torch.tensor(learned.matrix().T.copy())
    modules = [*model, dense, *([] if keeps_lengths(model) else [models.Normalize()])]
    return SentenceTransformer(
        modules=modules,
        device=model.device.type,
        prompts=model.prompts,
        default_prompt_name=model.default_prompt_name,
        similarity_fn_name=model.similarity_fn_name,
    )


def _only_last_layer(model: SentenceTransformer) -> list[torch.nn.Parameter]:
    last = layers_of(model)[-1]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    chosen = [parameter for parameter in last.parameters() if parameter.is_floating_point()]
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


def _encode(model: SentenceTransformer, batch: list[tuple[str, Role]]) -> torch.Tensor:
    """Return the vectors of texts in their roles; together, unless one prompt of a batch is to be left out of them."""
    import torch

    if pools_prompts(model):
        together: torch.Tensor = model(_features(model, batch))[EMBEDDING]
        return together
    places = {role: [at for at, (_, own) in enumerate(batch) if own is role] for role in Role}
    found = {
        role: model(tokens_of(model, [batch[at][0] for at in own], prompt_of(model, role)))[EMBEDDING]
        for role, own in places.items()
        if own
    }
    order = [at for role in found for at in places[role]]
    return torch.cat(list(found.values()))[np.argsort(order)]


def _features(model: SentenceTransformer, batch: list[tuple[str, Role]]) -> dict[str, Any]:
    return tokens_of(model, [prompt_of(model, role) + text for text, role in batch])


def _batches(lengths: list[int], size: int, seed: int) -> Iterator[list[int]]:
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(len(lengths))
    measured = np.array(lengths)
    batches: list[list[int]] = []
    for start in range(0, len(shuffled), size * BUCKET_BATCHES):
        bucket = shuffled[start : start + size * BUCKET_BATCHES]
        bucket = bucket[np.argsort(measured[bucket], kind="stable")]
        batches += [bucket[at : at + size].tolist() for at in range(0, len(bucket), size)]
    for number in draw.permutation(len(batches)):
        yield batches[number]
