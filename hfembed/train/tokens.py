"""late_interaction: what a frozen model's tokens say of queries and documents, taught to one vector per text.

A model that gives one vector per text has looked at every token before. Compared token by token (each token of
the query with the token of the document that is nearest to it, rare tokens counting more) the same model ranks
better, but would need all those vectors at search time. Here the comparison is a teacher, and the one vector
learns to rank like it. No label takes part, so the style of the queries matters less than in other losses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from hfembed.errors import StageError

# What the teacher says is sharpened to this temperature, in standard deviations of its scores.
SHARPNESS = 0.25
# Scores differ in scale from model to model; these many texts tell how much.
SCALE_TEXTS = 64
# How rare a token is, is counted in these many documents.
RARITY_TEXTS = 20_000
LEAST_WEIGHT = 0.05
Features = dict[str, Any]


class LateInteractionLoss(nn.Module):
    """Each query over all documents of the batch: the model's softmax against that of its token-level teacher."""

    def __init__(
        self, model: SentenceTransformer, guide: SentenceTransformer, temperature: float, columns: dict[str, list[Any]]
    ) -> None:
        """Teach `model` what `guide` says; the training texts in `columns` tell how rare a token is."""
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.teacher = Teacher.of(model, guide, columns)

    def forward(self, features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Return the mean cross-entropy between the teacher's ranking of a batch and the model's."""
        query, *documents = features
        with torch.no_grad():
            wanted = torch.softmax(self.teacher.scores(query, documents) / SHARPNESS, dim=1)
        vectors = [nn.functional.normalize(self.model(feature)["sentence_embedding"], dim=1) for feature in features]
        scores = vectors[0] @ torch.cat(vectors[1:]).T / self.temperature
        return nn.functional.cross_entropy(scores, wanted)


@dataclass(frozen=True)
class Teacher:
    """A frozen model that compares texts as a whole and token by token, both in standard deviations.

    rarity: the weight of every token of the vocabulary. whole, tokens: mean and deviation of either score.
    """

    guide: SentenceTransformer
    rarity: Tensor
    whole: tuple[float, float] = (0.0, 1.0)
    tokens: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def of(cls, model: SentenceTransformer, guide: SentenceTransformer, columns: dict[str, list[Any]]) -> Teacher:
        """Return a teacher for a model, measured on the texts that are trained on."""
        if guide.tokenizer.get_vocab() != model.tokenizer.get_vocab():
            raise StageError(
                "The loss late_interaction needs a teacher that cuts texts into the same tokens as the model.",
                "Leave train.teacher out, so that the base teaches, or choose one of its family.",
            )
        documents = list(dict.fromkeys(columns["positive"]))
        guide.requires_grad_(False)
        raw = cls(guide, _rarity(guide, documents[:: max(1, len(documents) // RARITY_TEXTS)]))
        queries = columns["query"][:: max(1, len(columns["query"]) // SCALE_TEXTS)][:SCALE_TEXTS]
        drawn = documents[:: max(1, len(documents) // SCALE_TEXTS)][:SCALE_TEXTS]
        whole, tokens = raw.compare(raw.read(queries), [raw.read(drawn)])
        return cls(guide, raw.rarity, _scale(whole), _scale(tokens))

    def read(self, texts: Sequence[str]) -> Features:
        """Cut texts into tokens."""
        read = self.guide.tokenize(list(texts))
        return {
            name: value.to(self.guide.device) if isinstance(value, Tensor) else value for name, value in read.items()
        }

    def scores(self, query: Features, documents: Sequence[Features]) -> Tensor:
        """Return how well every document fits every query, in standard deviations."""
        whole, tokens = self.compare(query, documents)
        return ((whole - self.whole[0]) / self.whole[1] + (tokens - self.tokens[0]) / self.tokens[1]) / 2

    @torch.no_grad()
    def compare(self, query: Features, documents: Sequence[Features]) -> tuple[Tensor, Tensor]:
        """Return both scores of every document for every query."""
        asked, found = self._encode(query), [self._encode(document) for document in documents]
        whole = asked.vectors @ torch.cat([texts.vectors for texts in found]).T
        weights = self.rarity[query["input_ids"]] * asked.mask
        tokens = torch.cat([_match(asked.tokens, weights, texts) for texts in found], dim=1)
        return whole, tokens

    def _encode(self, features: Features) -> _Texts:
        read = self.guide(dict(features))
        return _Texts(
            nn.functional.normalize(read["sentence_embedding"].float(), dim=1),
            nn.functional.normalize(read["token_embeddings"], dim=2),
            features["attention_mask"].bool(),
        )


@dataclass(frozen=True)
class _Texts:
    vectors: Tensor
    tokens: Tensor
    mask: Tensor


def _match(queries: Tensor, weights: Tensor, documents: _Texts) -> Tensor:
    """Return for every query and document the mean, by weight, of each query token's nearest document token."""
    outside = ~documents.mask
    rows = []
    for tokens, weight in zip(queries, weights, strict=True):  # one at a time: all at once would not fit in memory
        nearest = (documents.tokens @ tokens.T).masked_fill(outside[:, :, None], -1.0).amax(dim=1)
        rows.append(nearest.float() @ weight / weight.sum())
    return torch.stack(rows)


def _rarity(guide: SentenceTransformer, documents: Sequence[str]) -> Tensor:
    """Return the inverse document frequency of every token; one that is never seen weighs like one seen once."""
    seen: Counter[int] = Counter()
    for start in range(0, len(documents), SCALE_TEXTS):
        for ids in guide.tokenize(list(documents[start : start + SCALE_TEXTS]))["input_ids"].tolist():
            seen.update(set(ids))
    found = torch.ones(max(len(guide.tokenizer), *seen) + 1 if seen else 1)
    for token, count in seen.items():
        found[token] = count
    return torch.log((len(documents) + 1) / (found + 0.5)).clamp(min=LEAST_WEIGHT).to(guide.device)


def _scale(scores: Tensor) -> tuple[float, float]:
    return float(scores.mean()), max(float(scores.std()), 1e-6)
