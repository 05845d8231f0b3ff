"""How far to move away from the base: chosen on ways of asking that the map was not trained on.

Dev queries of the kinds that were trained on reward a map for copying the style of synthetic queries;
people write in another style. So for every family of kinds a map is trained on the others alone, and what
counts is how it does on the family it never saw. Half of that is measured on documents it has learned
from, which is most of what a published model will be asked about, and half on documents it has not. Of
the strengths that are not shown to hurt the latter, the one with the best mean is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.embed import Vectors
from hfembed.events import Reporter
from hfembed.ranking import Rows, ndcg_scores, top_documents
from hfembed.recipe import Phase, QueryKind
from hfembed.train.adapter import Map, Pairs, learn_map

# Farther than this, what the queries of a corpus have in common is their style, and people have another.
STRENGTHS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625)
# With one kind of query alone nothing can be left out; more than this has been seen to overfit.
CAUTIOUS_STRENGTH = 0.5
MIN_DEV_QUERIES = 8
# One map is trained for every kind left out, so each looks at fewer documents than the one that is kept.
CHECK_POOL = 4_096
CHECK_QUERIES = 1_000
# What is more than this below zero is called worse at the 5 % level.
STANDARD_ERRORS = 1.96
# With few dev documents nothing is sure; more than this is not risked.
MAX_LOSS = 0.005
SEEN, UNSEEN = "documents learned from", "documents not learned from"

# Kinds that say the same in nearly the same words: one of them left out alone would not be unseen.
FAMILIES: dict[str, tuple[QueryKind, ...]] = {
    "names": (QueryKind.TITLE, QueryKind.TERM, QueryKind.PHRASE),
    "questions": (QueryKind.QUESTION, QueryKind.ASPECT, QueryKind.MULTI_HOP),
    "statements": (
        QueryKind.LEAD, QueryKind.SENTENCE, QueryKind.PARAPHRASE, QueryKind.DEFINITION, QueryKind.CLAIM,
        QueryKind.TRIPLE, QueryKind.ENTITY_MAP, QueryKind.SPAN, QueryKind.CLOZE,
    ),
    "keywords": (QueryKind.KEYWORD,),
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The chosen strength and what it was chosen from."""

    strength: float
    gains: dict[str, dict[str, float]]
    base: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the choice for the manifest and the report."""
        return {"strength": self.strength, "base_ndcg@10": self.base, "gain_by_left_out_family": self.gains}


@dataclass(frozen=True)
class _Check:
    """Queries of a family that a map was not trained on, about documents of one side, and their scores."""

    family: str
    side: str
    pairs: Pairs
    scores: dict[float, npt.NDArray[np.float64]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.family}, {self.side}"

    def gain(self, strength: float) -> npt.NDArray[np.float64]:
        return self.scores[strength] - self.scores[0.0]


def choose_strength(
    train: Pairs, dev: Pairs, documents: Vectors, groups: Rows, phases: list[Phase], seed: int, report: Reporter
) -> Choice:
    """Return the strength with the best mean nDCG@10 over left-out families; 0 where nothing helps."""
    families = [name for name, kinds in FAMILIES.items() if np.isin(dev.kinds, kinds).sum() >= MIN_DEV_QUERIES]
    others = {name: train.where(~np.isin(train.kinds, FAMILIES[name])) for name in families}
    left_out = [name for name in families if len(others[name])]
    sides = {SEEN: train, UNSEEN: dev}
    strengths: tuple[float, ...] = STRENGTHS
    if len(left_out) < 2:
        report.warn("Only one way of asking was made, so the strength cannot be checked on another.")
        left_out, others, sides = families, dict.fromkeys(families, train), {UNSEEN: dev}
        strengths = tuple(strength for strength in STRENGTHS if strength <= CAUTIOUS_STRENGTH)
    quick = [phase.model_copy(update={"pool": min(phase.pool, CHECK_POOL)}) for phase in phases]
    checks: list[_Check] = []
    for family in report.each(left_out, "choosing the strength on queries left out", len(left_out), "families"):
        learned, _ = learn_map(others[family], documents, groups, quick, seed)
        for side, pairs in sides.items():
            asked = _draw(pairs.where(np.isin(pairs.kinds, FAMILIES[family])), seed)
            if len(asked):
                checks.append(_Check(family, side, asked))
                for strength in strengths:
                    checks[-1].scores[strength] = _score_each(Map(learned.weights, strength), asked, documents)
    if not checks:
        return Choice(0.0, {}, {})
    mean = {s: float(np.mean([check.gain(s).mean() for check in checks])) for s in strengths}
    harmless = [s for s in strengths if not _hurts([check for check in checks if check.side == UNSEEN], s)]
    return Choice(
        # Of equal gains the smaller step away from the base wins.
        strength=max(harmless, key=lambda s: (mean[s], -s)),
        gains={check.name: {str(s): round(float(check.gain(s).mean()), 5) for s in strengths} for check in checks},
        base={check.name: round(float(check.scores[0.0].mean()), 5) for check in checks},
    )


def _hurts(checks: list[_Check], strength: float) -> bool:
    """Tell whether a strength loses: much, or for sure. Queries about one document rise and fall together."""
    rows = np.unique(np.concatenate([check.pairs.positives for check in checks]), return_inverse=True)[1]
    gains = np.bincount(rows, np.concatenate([check.gain(strength) for check in checks])) / np.bincount(rows)
    surely = gains.mean() + STANDARD_ERRORS * gains.std() / np.sqrt(len(gains)) < 0
    return bool(surely or gains.mean() < -MAX_LOSS)


def _draw(pairs: Pairs, seed: int) -> Pairs:
    if len(pairs) <= CHECK_QUERIES:
        return pairs
    return pairs.where(np.random.default_rng(seed).choice(len(pairs), CHECK_QUERIES, replace=False))


def score_map(learned: Map, pairs: Pairs, documents: Vectors) -> float:
    """Return nDCG@10 of pairs under a map."""
    return float(_score_each(learned, pairs, documents).mean())


def _score_each(learned: Map, pairs: Pairs, documents: Vectors) -> npt.NDArray[np.float64]:
    ranked = top_documents(learned.apply(pairs.queries), learned.apply(documents), 10)
    return ndcg_scores(ranked, pairs.positives)
