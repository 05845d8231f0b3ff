"""Scores of every query with every document, by each head and by all of them together, as tensors that learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hfembed.encoder import EMBEDDING
from hfembed.heads.module import IDS, TOKEN_MASK, TOKEN_VECTORS, TOKEN_WEIGHTS
from hfembed.recipe import Head

# Below any cosine: what is padding is never the nearest.
NOWHERE = -1e4
Features = Mapping[str, Any]
Scores = dict[Head, Tensor]


def scores_of(query: Features, document: Features, heads: Mapping[Head, float]) -> Scores:
    """Return the scores of all queries with all documents by head."""
    functions = {Head.DENSE: dense_scores, Head.SPARSE: sparse_scores, Head.MULTI_VECTOR: multi_vector_scores}
    return {head: functions[head](query, document) for head in heads}


def fused(scores: Mapping[Head, Tensor], weights: Mapping[Head, float]) -> Tensor:
    """Return the sum of the heads' scores, each times its weight."""
    return torch.stack([weights[head] * found for head, found in scores.items()]).sum(0)


def dense_scores(query: Features, document: Features) -> Tensor:
    """Return the cosines of the texts' vectors."""
    asked, found = (nn.functional.normalize(texts[EMBEDDING], dim=1) for texts in (query, document))
    scores: Tensor = asked @ found.T
    return scores


def sparse_scores(query: Features, document: Features) -> Tensor:
    """Return the sum, over the tokens that two texts share, of the products of their weights."""
    ids = torch.cat([query[IDS].flatten(), document[IDS].flatten()])
    # Only tokens that occur take a column: a vocabulary of hundreds of thousands would fill the memory.
    vocabulary, places = torch.unique(ids, return_inverse=True)
    asked, found = places.split([query[IDS].numel(), document[IDS].numel()])
    scores: Tensor = (
        spread(query[TOKEN_WEIGHTS], asked.view_as(query[IDS]), len(vocabulary))
        @ spread(document[TOKEN_WEIGHTS], found.view_as(document[IDS]), len(vocabulary)).T
    )
    return scores


def spread(weights: Tensor, ids: Tensor, size: int) -> Tensor:
    """Return a column for every token of the vocabulary; of one that stands in a text twice the larger weight."""
    found: Tensor = weights.new_zeros(len(weights), size).scatter_reduce(1, ids, weights, "amax")
    return found


def multi_vector_scores(query: Features, document: Features) -> Tensor:
    """Return the mean, over the tokens of a query, of the cosine with the nearest token of the document."""
    asked = query[TOKEN_MASK]
    near = torch.einsum("qid,pjd->qpij", query[TOKEN_VECTORS], document[TOKEN_VECTORS])
    nearest = near.masked_fill(~document[TOKEN_MASK][None, :, None, :], NOWHERE).amax(-1)
    scores: Tensor = (nearest * asked[:, None, :]).sum(-1) / asked.sum(1).clamp(min=1)[:, None]
    return scores
