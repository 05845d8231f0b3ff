"""What is watched of heads while they learn: how well each ranks dev, and whether one of them has died or says nothing new."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hfembed.embed import Precision, Role
from hfembed.heads.files import FUSED
from hfembed.heads.search import Candidates, HeadTexts, read_texts, search
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


def look_at_heads(
    model: SentenceTransformer, weights: Mapping[Head, float], dev: Dev, precision: Precision, temperature: float
) -> dict[str, float]:
    """Return nDCG@10 on dev of every head, and what tells of their health.

    temperature: of what the heads learn from one another.
    """
    with tempfile.TemporaryDirectory(prefix="hfembed-heads-") as folder:
        documents = read_texts(model, dev.documents, Role.DOCUMENT, precision, Path(folder) / "documents")
        queries = read_texts(model, dev.queries, Role.QUERY, precision, Path(folder) / "queries")
        gains: dict[str, list[float]] = defaultdict(list)
        sure, apart = [], []
        for found, answer in zip(search(queries, documents, weights, CANDIDATES), dev.answers, strict=True):
            for head, scores in found.scores.items():
                gains[head].append(_gain(found, scores, int(answer)))
            wanted = _softmax(found.scores[FUSED] / temperature)
            sure.append(wanted.max())
            heads = [scores for head, scores in found.scores.items() if head != FUSED]
            apart.append(np.mean([_distance(wanted, _softmax(scores / temperature)) for scores in heads]))
    measured = {f"{HEADS}{head}": dev.mean(_by_family(np.array(values), dev)) for head, values in gains.items()}
    measured |= {SURE: float(np.mean(sure)), APART: float(np.mean(apart)), **_health(documents)}
    return {name: round(value, 5) for name, value in measured.items()}


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


def _gain(found: Candidates, scores: Any, answer: int) -> float:
    place = np.flatnonzero(found.rows == answer)
    if not len(place):
        return 0.0
    above = int((scores > scores[place[0]]).sum() + ((scores == scores[place[0]]) & (found.rows < answer)).sum())
    return float(1 / np.log2(above + 2)) if above < DEPTH else 0.0


def _by_family(values: Numbers, dev: Dev) -> dict[str, float]:
    return {family: float(values[dev.families == family].mean()) for family in dev.shares}


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
