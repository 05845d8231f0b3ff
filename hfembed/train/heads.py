"""What is watched of heads while they learn: how well each ranks dev, and whether one of them has died or says nothing new."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hfembed.embed import Precision, Role, Vectors
from hfembed.heads.files import FUSED
from hfembed.heads.search import HeadTexts, read_texts, search
from hfembed.ranking import NOBODY, Rows
from hfembed.recipe import Head
from hfembed.train.dev import Dev

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CANDIDATES, DEPTH = 30, 10
# In the log, before the name of a head.
HEADS = "heads_"
ACTIVE, LARGEST, SURE, APART = "sparse_active", "sparse_largest", "teacher_sure", "disagreement"
LEAST_ACTIVE, LEAST_LARGEST, MOST_SURE = 0.05, 1e-3, 0.99

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SeenHeads:
    """What a look at heads found. ranked: the ten documents nearest to each query of dev, by the one vector."""

    ranked: Rows
    measured: dict[str, float]


def look_at_heads(
    model: SentenceTransformer, weights: Mapping[Head, float], dev: Dev, precision: Precision, temperature: float
) -> SeenHeads:
    """Measure nDCG@10 on dev of every head, and what tells of their health.

    temperature: of what the heads learn from one another.
    """
    with tempfile.TemporaryDirectory(prefix="hfembed-heads-") as folder:
        documents = read_texts(model, dev.documents, Role.DOCUMENT, precision, Path(folder) / "documents")
        queries = read_texts(model, dev.queries, Role.QUERY, precision, Path(folder) / "queries")
        ranked: dict[str, list[Rows]] = defaultdict(list)
        sure, apart = [], []
        for found in search(queries, documents, weights, CANDIDATES):
            for head, scores in found.scores.items():
                ranked[head].append(_first(found.rows, scores))
            wanted = _softmax(found.scores[FUSED] / temperature)
            sure.append(wanted.max())
            heads = [scores for head, scores in found.scores.items() if head != FUSED]
            apart.append(np.mean([_distance(wanted, _softmax(scores / temperature)) for scores in heads]))
    rankings = {head: np.array(rows) for head, rows in ranked.items()}
    measured = {f"{HEADS}{head}": dev.mean(dev.scores_of(rows)) for head, rows in rankings.items()}
    measured |= {SURE: float(np.mean(sure)), APART: float(np.mean(apart)), **_health(documents)}
    return SeenHeads(rankings[Head.DENSE], {name: round(value, 5) for name, value in measured.items()})


def warnings_of_heads(log: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what the looks at heads give cause to say."""
    looks = [entry for entry in log if f"{HEADS}{FUSED}" in entry]
    if not looks:
        return
    first, last = looks[0], looks[-1]
    if last.get(ACTIVE, 1.0) < LEAST_ACTIVE or last.get(LARGEST, 1.0) < LEAST_LARGEST:
        yield (
            f"The sparse head has died down: {last[ACTIVE]:.1%} of the tokens weigh anything, the heaviest of a text "
            f"{last[LARGEST]:.4f} on the mean. Lower train.heads.learning_rate, or leave self_distill on."
        )
    if last[SURE] > MOST_SURE:
        yield (
            f"What the heads learn from one another is sure of one document ({last[SURE]:.3f} on the mean) and teaches "
            "no more than the labels. Raise the phase's self_distill.temperature."
        )
    if len(looks) > 2 and last[APART] > max(first[APART], looks[1][APART]):
        yield (
            "The heads have come to disagree more and more. Raise train.heads.weights of the best one, or the share "
            "of the steps in which they teach one another (self_distill.after)."
        )
    single = {name.removeprefix(HEADS): score for name, score in last.items() if name.startswith(HEADS)}
    fused = single.pop(FUSED)
    best = max(single, key=lambda name: single[name])
    if fused <= single[best]:
        yield (
            f"All heads together rank dev no better ({fused:.4f}) than {best} alone ({single[best]:.4f}). Lower the "
            "weights of the others: train.heads.weights"
        )


def _first(rows: Rows, scores: Vectors) -> Rows:
    """Return the best of the candidates, filled up with nobody; of equals the one that stands first in the corpus."""
    best = rows[np.lexsort((rows, -scores))[:DEPTH]]
    return np.pad(best, (0, DEPTH - len(best)), constant_values=NOBODY)


def _softmax(scores: Any) -> Numbers:
    powers: Numbers = np.exp(np.asarray(scores, dtype=np.float64) - scores.max())
    shares: Numbers = powers / powers.sum()
    return shares


def _distance(wanted: Numbers, found: Numbers) -> float:
    """Return the Kullback-Leibler divergence of one distribution from another."""
    return float((wanted * (np.log(wanted + 1e-12) - np.log(found + 1e-12))).sum())


def _health(documents: HeadTexts) -> dict[str, float]:
    """Return the share of the tokens that weigh anything, and the mean of each text's largest weight."""
    if documents.weights is None:
        return {}
    tokens = max(1, int((documents.ends - documents.starts).sum()))
    active = documents.weights.nnz / tokens if documents.tokens is not None else float(documents.weights.nnz > 0)
    return {ACTIVE: min(1.0, active), LARGEST: float(documents.weights.max(axis=1).toarray().mean())}
