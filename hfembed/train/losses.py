"""Losses: sentence-transformers' own by the name of the recipe, and the one it does not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, losses, util
from torch import Tensor, nn

from hfembed.encoder import keeps_lengths
from hfembed.errors import StageError
from hfembed.recipe import LossType, Tuning
from hfembed.train.m3 import M3SelfDistillLoss, SimilarityDistillLoss
from hfembed.train.tokens import LateInteractionLoss

# gist: a document of the batch that the guide scores above this share of the positive is no negative.
GIST_MARGIN = 0.05
# sentence-transformers' own compares by cosine alone, and so does ours.
BY_COSINE = (LossType.GIST, LossType.LATE_INTERACTION, LossType.M3, LossType.SIMILARITY_DISTILL)


class GroupedInfoNCELoss(nn.Module):
    """Each query against its own positive and its own negatives, and nothing else of the batch."""

    def __init__(self, model: SentenceTransformer, temperature: float) -> None:
        """Train `model` with a softmax at `temperature`."""
        super().__init__()
        self.model = model
        self.temperature = temperature
        self._by_cosine = not keeps_lengths(model)  # asked now: several processes wrap the model later

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Return the mean loss of the rows of a batch."""
        vectors = [self.model(feature)["sentence_embedding"] for feature in features]
        if self._by_cosine:
            vectors = [nn.functional.normalize(found, dim=1) for found in vectors]
        query, *documents = vectors
        scores = torch.stack([(query * document).sum(1) for document in documents], dim=1) / self.temperature
        return nn.functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


def make_loss(
    model: SentenceTransformer,
    phase: Tuning,
    guide: SentenceTransformer | None,
    columns: dict[str, list[Any]],
    steps: int,
) -> nn.Module:
    """Return the loss that a phase of so many steps asks for; `guide` is what gist and late_interaction listen to."""
    loss: nn.Module
    if keeps_lengths(model):
        _refuse_cosine(phase)
    if phase.loss is LossType.LATE_INTERACTION and guide is not None:
        loss = LateInteractionLoss(model, guide, phase.temperature, columns)
    elif phase.loss is LossType.M3:
        loss = M3SelfDistillLoss(model, phase, steps)
    elif phase.loss is LossType.SIMILARITY_DISTILL:
        loss = SimilarityDistillLoss(model, phase, steps)
    else:
        loss = _plain_loss(model, phase, guide)
    if not phase.dimensions:
        return loss
    # sentence-transformers 5.4 renamed it.
    width = getattr(model, "get_embedding_dimension", model.get_sentence_embedding_dimension)()
    if max(phase.dimensions) > width:
        raise StageError(
            f"train.phases asks for vectors of {max(phase.dimensions)} dimensions, but the base gives {width}.",
            f"Set dimensions of at most {width}.",
        )
    wrapped: nn.Module = losses.MatryoshkaLoss(model, loss, sorted({width, *phase.dimensions}, reverse=True))
    return wrapped


def _refuse_cosine(phase: Tuning) -> None:
    """Refuse what compares by cosine, whatever the model does: it would train another model than is searched with."""
    by_cosine = [str(phase.loss)] if phase.loss in BY_COSINE else []
    by_cosine += ["dimensions"] if phase.dimensions else []
    if by_cosine:
        raise StageError(
            f"A phase trains with {' and '.join(by_cosine)}, by cosine; the model compares by dot product.",
            "Choose the loss contrastive without dimensions, or --set encoder.normalize=true.",
        )


def _plain_loss(model: SentenceTransformer, phase: Tuning, guide: SentenceTransformer | None) -> Any:
    by_dot = keeps_lengths(model)
    all_pairs, each_pair = (
        (util.dot_score, util.pairwise_dot_score) if by_dot else (util.cos_sim, util.pairwise_cos_sim)
    )
    match phase.loss:
        case LossType.CONTRASTIVE if not phase.in_batch:
            return GroupedInfoNCELoss(model, phase.temperature)
        case LossType.CONTRASTIVE if phase.mini_batch is None:
            return losses.MultipleNegativesRankingLoss(model, scale=1 / phase.temperature, similarity_fct=all_pairs)
        case LossType.CONTRASTIVE:
            return losses.CachedMultipleNegativesRankingLoss(
                model, scale=1 / phase.temperature, similarity_fct=all_pairs, mini_batch_size=phase.mini_batch
            )
        case LossType.GIST:
            settings = {"temperature": phase.temperature, "margin_strategy": "relative", "margin": GIST_MARGIN}
            if phase.mini_batch is None:
                return losses.GISTEmbedLoss(model, guide, **settings)
            return losses.CachedGISTEmbedLoss(model, guide, mini_batch_size=phase.mini_batch, **settings)
        case LossType.MARGIN_MSE:
            return losses.MarginMSELoss(model, similarity_fct=each_pair)
        case LossType.DISTILL_KL:
            return losses.DistillKLDivLoss(model, similarity_fct=each_pair, temperature=phase.temperature)
        case LossType.EMBED_DISTILL:
            if not hasattr(losses, "EmbedDistillLoss"):
                raise StageError(
                    "The loss embed_distill needs a newer sentence-transformers.",
                    'pip install --upgrade "sentence-transformers>=5.7"',
                )
            return losses.EmbedDistillLoss(model, distance_metric="mse" if by_dot else "cosine")
