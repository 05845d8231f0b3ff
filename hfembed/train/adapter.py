"""The residual map: queries and documents both become normalize(x + xW), with W learned from zero.

Where a model compares by dot product lengths count, and nothing is normalized.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hfembed.embed import Vectors, of_unit_length, unit
from hfembed.errors import StageError
from hfembed.events import Reporter
from hfembed.ranking import Rows
from hfembed.recipe import Phase, QueryKind

if TYPE_CHECKING:
    import torch

LOSS_WINDOW = 10


@dataclass(frozen=True)
class Pairs:
    """Training or dev rows as vectors: each query, the row of its document, its kind, its negatives.

    answers: the rows of all documents that answer the query, its own among them, repeated to equal length.
    weights: how often each row is drawn, relative to the others.
    """

    queries: Vectors
    positives: Rows
    kinds: npt.NDArray[np.str_]
    negatives: Rows
    answers: Rows
    weights: Vectors

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.positives)

    def where(self, mask: npt.NDArray[np.bool_] | Rows) -> Pairs:
        """Return the pairs that a mask or their places select."""
        return Pairs(**{name: values[mask] for name, values in vars(self).items()})

    def mixed(self, kinds: Mapping[QueryKind, float]) -> Vectors:
        """Return how often each row is drawn when kinds of query count as told; all of them alike when none is."""
        if not kinds:
            return self.weights
        weights = self.weights * np.array([kinds.get(kind, 0.0) for kind in self.kinds.tolist()], dtype=np.float32)
        if not weights.any():
            raise StageError(
                f"A phase has no row to learn from: its kinds are none of {', '.join(np.unique(self.kinds))}.",
                "Set the kinds of the phase to some of these, or leave them out.",
            )
        return weights

    def with_rows(self, more: Pairs) -> Pairs:
        """Return these pairs and others after them."""
        return Pairs(**{name: _stack(values, getattr(more, name)) for name, values in vars(self).items()})


def _stack(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Put rows under rows; the last column of the narrower ones is repeated to equal width."""
    if first.ndim == 1:
        return np.concatenate([first, second])
    width = max(first.shape[1], second.shape[1])
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1])), mode="edge") for part in (first, second)])


@dataclass(frozen=True)
class Map:
    """A learned residual map and how much of it is applied."""

    weights: Vectors
    strength: float = 1.0

    def apply(self, vectors: Vectors) -> Vectors:
        """Move vectors by the map; those of length one are scaled back to it."""
        if self.strength == 0:
            return np.asarray(vectors)
        moved = np.asarray(vectors) + np.asarray(vectors) @ (np.float32(self.strength) * self.weights)
        return unit(moved) if of_unit_length(vectors) else np.asarray(moved)

    def matrix(self) -> Vectors:
        """Return I + strength W, the map as one matrix."""
        whole: Vectors = np.eye(len(self.weights), dtype=np.float32) + np.float32(self.strength) * self.weights
        return whole


def learn_map(
    pairs: Pairs, documents: Vectors, groups: Rows, phases: list[Phase], seed: int, report: Reporter | None = None
) -> tuple[Map, list[float]]:
    """Train the map through every phase; return it with the loss of each step."""
    import torch

    width, scale = documents.shape[1], _scale(pairs.queries, documents)
    weights = torch.zeros(width, width, requires_grad=True)
    losses: list[float] = []
    for number, phase in enumerate(phases):
        generator = torch.Generator().manual_seed(seed + number)
        weights_of_rows = torch.tensor(pairs.mixed(phase.kinds))
        optimizer = torch.optim.AdamW([weights], lr=phase.learning_rate, weight_decay=phase.weight_decay)
        batches = range(phase.steps)
        steps = report.each(batches, "training the map", phase.steps, "steps") if report else batches
        for _ in steps:
            batch = torch.multinomial(weights_of_rows, phase.batch_size, replacement=True, generator=generator).numpy()
            loss = _loss(weights, pairs.where(batch), documents, groups, phase, generator, scale)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(round(float(loss.detach()), 5))
        if phase.rank is not None:
            weights = _strongest(weights.detach(), phase.rank).requires_grad_()
    return Map(weights.detach().numpy().copy()), losses


def _strongest(weights: torch.Tensor, rank: int) -> torch.Tensor:
    """Return the nearest map that changes only so many directions."""
    import torch

    left, values, right = torch.linalg.svd(weights)
    nearest: torch.Tensor = (left[:, :rank] * values[:rank]) @ right[:rank]
    return nearest


def _loss(
    weights: torch.Tensor,
    batch: Pairs,
    documents: Vectors,
    groups: Rows,
    phase: Phase,
    generator: torch.Generator,
    scale: float | None,
) -> torch.Tensor:
    """Softmax over the pool: the whole corpus, or a draw of it that holds every positive and mined negative."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    pool = _pool(batch, len(documents), phase.pool, generator)
    place = {int(row): at for at, row in enumerate(pool)} if len(pool) < len(documents) else None
    target = torch.tensor([place[int(row)] for row in batch.positives] if place else batch.positives)
    queries, candidates = torch.tensor(np.asarray(batch.queries)), torch.tensor(np.asarray(documents[pool]))
    queries, candidates = queries + queries @ weights, candidates + candidates @ weights
    if scale is None:
        queries, candidates = normalize(queries, dim=1), normalize(candidates, dim=1)
    logits = queries @ candidates.T / (phase.temperature * (scale or 1.0))
    # The other answers of a query, and near-duplicates of any, are no negatives.
    alike = [groups[pool][None, :] == groups[batch.answers[:, [at]]] for at in range(batch.answers.shape[1])]
    right = torch.tensor(np.logical_or.reduce(alike))
    right[torch.arange(len(target)), target] = False
    return cross_entropy(logits.masked_fill(right, -torch.inf), target)


def _scale(queries: Vectors, documents: Vectors) -> float | None:
    """Return what brings dot products into the range of cosines; None where they are cosines already."""
    if of_unit_length(documents):
        return None
    return float(np.linalg.norm(queries, axis=1).mean() * np.linalg.norm(documents, axis=1).mean()) or None


def _pool(batch: Pairs, total: int, limit: int, generator: torch.Generator) -> Rows:
    import torch

    if total <= limit:
        return np.arange(total)
    drawn = torch.randint(total, (limit,), generator=generator).numpy()
    return np.unique(np.concatenate([drawn, batch.positives, batch.negatives.ravel()]))
