"""m3 and similarity_distill: the losses of models with heads.

m3 (M3-Embedding, arXiv:2402.03216, as FlagEmbedding writes it): every head and all of them together rank the documents
of a batch; once that has begun to work, what all of them say together teaches each. similarity_distill (what NeuroMAP
does after it): the vectors of texts, and how alike the texts are, stay near those of a frozen teacher.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import TrainerCallback

from hfembed.encoder import EMBEDDING
from hfembed.heads.module import heads_of
from hfembed.heads.scores import Features, Scores, fused, scores_of
from hfembed.recipe import Distill, Head, SelfDistill, Tuning

# How much each head counts in either half of the loss; FlagEmbedding's constants.
SHARES = {Head.DENSE: 1.0, Head.SPARSE: 0.1, Head.MULTI_VECTOR: 1.0}
# How alike texts are is sharpened to this temperature before it is compared with the teacher's view.
SIMILARITY_TEMPERATURE = 0.02


class PacedLoss(nn.Module):
    """A loss that changes as training goes on; the trainer says at which step it is."""

    step = 0


class Pace(TrainerCallback):  # type: ignore[misc]
    """Tells a loss at which step it is."""

    def __init__(self, loss: PacedLoss) -> None:
        """Tell this one."""
        self._loss = loss

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say it before the step is made: a run that goes on is where it was."""
        self._loss.step = state.global_step


class M3SelfDistillLoss(PacedLoss):
    """Each head, and all together, against the documents of a batch; later all together teach each."""

    def __init__(self, model: SentenceTransformer, phase: Tuning, steps: int) -> None:
        """Train `model`, which has heads, for so many steps."""
        super().__init__()
        heads = heads_of(model)
        self.model = model
        self.weights = dict(heads.weights) if heads is not None else {Head.DENSE: 1.0}
        self.temperature, self.in_batch = phase.temperature, phase.in_batch
        self.teaching: SelfDistill = phase.self_distill
        self.teaches_from = math.ceil(phase.self_distill.after * steps)

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch."""
        return self.of([self.model(feature) for feature in features])

    def of(self, texts: list[Features]) -> Tensor:
        """Return the loss of a query and its documents, the right one first, as the model sees them."""
        scores = self.compare(texts)
        together = fused(scores, self.weights)
        right = torch.arange(len(together), device=together.device) if self.in_batch else together.new_zeros(
            len(together), dtype=torch.long
        )  # fmt: skip
        ranking = [SHARES[head] * self._ranked(found, right) for head, found in scores.items()]
        loss = torch.stack([*ranking, self._ranked(together, right)]).mean()
        if not self.teaching.enabled or self.step < self.teaches_from:
            return loss
        return (loss + self.taught(scores, together)) / 2

    def compare(self, texts: list[Features]) -> Scores:
        """Return the scores by head: of all documents of the batch, or of the row's own."""
        query, *documents = texts
        found = [scores_of(query, document, self.weights) for document in documents]
        if self.in_batch:
            return {head: torch.cat([one[head] for one in found], dim=1) for head in self.weights}
        return {head: torch.stack([one[head].diagonal() for one in found], dim=1) for head in self.weights}

    def taught(self, scores: Scores, together: Tensor) -> Tensor:
        """Return how far each head is from what all say together, which is not moved by it."""
        temperature = self.teaching.temperature
        wanted = torch.softmax(together.detach() / temperature, dim=1)
        parts = [
            SHARES[head] * nn.functional.cross_entropy(found / temperature, wanted) for head, found in scores.items()
        ]
        return torch.stack(parts).mean()

    def _ranked(self, scores: Tensor, right: Tensor) -> Tensor:
        return nn.functional.cross_entropy(scores / self.temperature, right)


class SimilarityDistillLoss(PacedLoss):
    """The vectors of queries and their documents against a teacher's: one by one, and how alike they are."""

    def __init__(self, model: SentenceTransformer, phase: Tuning, steps: int) -> None:
        """Keep `model` near a teacher; with `keep`, go on ranking beside that."""
        super().__init__()
        self.model = model
        self.settings: Distill = phase.distill
        self.ranking = M3SelfDistillLoss(model, phase, steps) if phase.distill.keep else None

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Return the mean loss of a batch. labels: the teacher's vectors of every query and its document."""
        texts: list[Any] = [self.model(feature) for feature in features]
        own = nn.functional.normalize(torch.cat([text[EMBEDDING] for text in texts[:2]]), dim=1)
        teacher = nn.functional.normalize(torch.cat([labels[:, 0], labels[:, 1]]).to(own), dim=1)
        loss = self.of(own, teacher)
        if self.ranking is None:
            return loss
        self.ranking.step = self.step
        return loss + self.settings.keep * self.ranking.of(texts)

    def of(self, own: Tensor, teacher: Tensor) -> Tensor:
        """Return the weighted sum of the three distances; all vectors are of length one."""
        cosine = (1 - (own * teacher).sum(1)).mean()
        squared = ((own - teacher) ** 2).sum(1).mean()
        alike = ((_likeness(own) - _likeness(teacher)) ** 2).sum(1).mean()
        return self.settings.cosine * cosine + self.settings.mse * squared + self.settings.similarity * alike


def _likeness(vectors: Tensor) -> Tensor:
    return torch.softmax(vectors @ vectors.T / SIMILARITY_TEMPERATURE, dim=1)
