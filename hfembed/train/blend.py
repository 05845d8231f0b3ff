"""How much of the trained weights is kept: a straight line from the model that came in to the one that came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfembed.embed import Precision
from hfembed.events import Reporter
from hfembed.train.dev import Dev
from hfembed.train.strength import CAUTIOUS_STRENGTH

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
# What a teacher says helps dev queries all the way, because they are cut from the documents; people's less far.
TAUGHT_STRENGTH = 0.75
Weights = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Blend:
    """The chosen strength, and nDCG@10 on dev by strength and family."""

    strength: float
    scores: dict[str, dict[str, float]]
    unseen: bool

    def to_json(self) -> dict[str, Any]:
        """Return the choice for the manifest and the report."""
        return {"strength": self.strength, "dev_ndcg@10": self.scores, "on_queries_left_out": self.unseen}


def weights_of(model: SentenceTransformer) -> dict[str, Tensor]:
    """Return a copy of a model's weights."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def blend_weights(model: SentenceTransformer, before: Weights, after: Weights, strength: float) -> None:
    """Give the model the weights that lie `strength` of the way; 0 and 1 are the two ends exactly."""
    if strength in (0.0, 1.0):
        model.load_state_dict(dict(after if strength else before))
        return
    model.load_state_dict(
        {
            name: value + strength * (after[name] - value) if value.is_floating_point() else after[name]
            for name, value in before.items()
        }
    )


def choose_blend(
    model: SentenceTransformer,
    before: Weights,
    after: Weights,
    dev: Dev,
    precision: Precision,
    report: Reporter,
    *,
    labelled: bool = True,
) -> Blend:
    """Return the strength with the best dev; where every family was learned from, a cautious one at most.

    labelled: whether what was learned is which document answers which query.
    """
    most = (1.0 if labelled else TAUGHT_STRENGTH) if dev.unseen else CAUTIOUS_STRENGTH
    strengths = [strength for strength in BLENDS if strength <= most]
    scores: dict[str, dict[str, float]] = {}
    for strength in report.each(strengths, "choosing the strength on dev", len(strengths), "strengths"):
        blend_weights(model, before, after, strength)
        found = dev.scores(model, precision)
        scores[str(strength)] = {family: round(score, 5) for family, score in found.items()}
    # Of equal scores the smaller step away from the model that came in wins.
    best = max(strengths, key=lambda strength: (dev.mean(scores[str(strength)]), -strength))
    return Blend(best, scores, dev.unseen)
