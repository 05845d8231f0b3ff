"""Checks: what goes wrong in training, measured while it lasts and said in words with what to do about it.

separation: whether positives stand apart from negatives. collapse: whether texts become alike. lengths: whether
some vectors grow so long that they come first for every query, where lengths count. forgetting:
whether another subject is still understood. negatives: whether some are answers. What breaks a single step is
watched where steps are made; leakage and the number of test queries are looked at where the verdict is given.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hfembed.embed import Role, Vectors, of_unit_length, unit
from hfembed.labelled import PEOPLE
from hfembed.ranking import mean_ndcg, top_documents
from hfembed.recipe import LossType
from hfembed.resources import sample_folder
from hfembed.train.preconvergence import HIT_MAPS, HIT_PLAIN, part_ways

Encoder = Callable[[list[str], Role], Vectors]

PROBE_ROWS = 64
PROBE_NEGATIVES = 2
PROBE_PAIRS = 1_000
GENERAL_DOCUMENTS = 48

# Negatives under a cap score below their positive from the start: easy are those that score far below it.
EASY_HARDNESS, EASY_UNTIL = 0.5, 0.1
BROKEN_SHARE, BROKEN_FROM = 0.5, 0.3
LEAST_ABOVE, ABOVE_FROM = 0.8, 0.2
MAX_LENGTH_CV, MAX_LENGTH_RATIO = 0.5, 3.0
MAX_COSINE_RISE, MIN_RANK_SHARE = 0.20, 0.7
FORGOTTEN = 0.01
# hit@1 lost on plain texts while entity maps gain.
VIEWS_PART = 0.005
GRADIENT_JUMP, GRADIENTS_FIRST, GRADIENTS_KEPT = 10.0, 10, 100
MAX_NEGATIVE_SHARE = 0.95
FEW_ROWS, FEW_STEPS = 100, 50
TINY_LOSS, TINY_UNTIL = 0.01, 0.1
# A point, and how many times more than people's queries made ones may gain.
FAMILY_LOSS, SYNTHETIC_TIMES = 0.01, 3.0
# Scores are rounded, so a handful may stand above the cap they were mined under.
MAX_FALSE_NEGATIVES = 0.005
ROUNDING, SMALL = 1e-3, 1e-6


@dataclass(frozen=True)
class Probe:
    """A few training rows, and documents about something else: encoded at every look."""

    queries: list[str]
    positives: list[str]
    negatives: list[list[str]]
    general: list[tuple[str, str]]

    def measure(self, encode: Encoder) -> dict[str, float]:
        """Return separation, collapse and what is still known about something else."""
        queries, positives = encode(self.queries, Role.QUERY), encode(self.positives, Role.DOCUMENT)
        right = (queries * positives).sum(1)
        measured = {
            "mean_cosine": _mean_cosine(unit(positives)),
            "effective_rank": _effective_rank(unit(positives)),
            "above_others": self._above_others(queries @ positives.T),
        }
        if not of_unit_length(positives):
            lengths = np.linalg.norm(positives, axis=1)
            measured |= {
                "length_cv": lengths.std() / lengths.mean(),
                "length_ratio": lengths.max() / np.median(lengths),
            }
        if self.negatives and self.negatives[0]:
            columns = [encode(list(texts), Role.DOCUMENT) for texts in zip(*self.negatives, strict=True)]
            hardest = np.max([(queries * column).sum(1) for column in columns], axis=0)
            measured |= {
                "separation": float(np.mean(right - hardest)),
                "separated": float(np.mean(right > hardest)),
                "hardness": float(np.median(hardest / np.maximum(right, SMALL))),
            }
        titles, texts = zip(*self.general, strict=True)
        ranked = top_documents(encode(list(titles), Role.QUERY), encode(list(texts), Role.DOCUMENT), 10)
        measured["general"] = mean_ndcg(ranked, np.arange(len(self.general)))
        return {name: round(float(value), 5) for name, value in measured.items()}

    def _above_others(self, scores: Vectors) -> float:
        """Return how often a query's own document scores above another query's (the area under the curve)."""
        names = np.array(self.positives, dtype=object)
        other = names[:, None] != names[None, :]
        right = np.diagonal(scores)[:, None]
        above = (right > scores) + 0.5 * (right == scores)
        return float(above[other].mean()) if other.any() else 1.0


def read_probe(train: Path, seed: int) -> Probe:
    """Draw the rows of a probe from train.parquet; the other subject is the corpus that ships with hfembed."""
    table = pq.read_table(train)
    rows = np.sort(np.random.default_rng(seed).permutation(len(table))[:PROBE_ROWS])
    names = [f"negative_{at + 1}" for at in range(PROBE_NEGATIVES) if f"negative_{at + 1}" in table.column_names]
    drawn = table.take(rows)
    columns = [drawn[name].to_pylist() for name in names]
    with (sample_folder() / "corpus.jsonl").open(encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines][:GENERAL_DOCUMENTS]
    return Probe(
        queries=drawn["query"].to_pylist(),
        positives=drawn["positive"].to_pylist(),
        negatives=[list(texts) for texts in zip(*columns, strict=True)] if columns else [],
        general=[(document["title"], document["text"]) for document in documents],
    )


def _mean_cosine(vectors: Vectors) -> float:
    draw = np.random.default_rng(0)
    first, second = draw.integers(len(vectors), size=(2, PROBE_PAIRS))
    apart = first != second
    return float((vectors[first[apart]] * vectors[second[apart]]).sum(1).mean()) if apart.any() else 1.0


def _effective_rank(vectors: Vectors) -> float:
    """Return the exponential of the entropy of the singular values."""
    values = np.linalg.svd(np.asarray(vectors, dtype=np.float64), compute_uv=False)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def warnings_of_log(log: Sequence[Mapping[str, Any]], steps: int) -> Iterator[str]:
    """Yield what the looks of a phase give cause to say."""
    looks = [entry for entry in log if "mean_cosine" in entry]
    if not looks:
        return
    first, last = looks[0], looks[-1]
    yield from _separation(looks, steps)
    yield from _others(looks, steps)
    if last.get("length_cv", 0.0) > MAX_LENGTH_CV or last.get("length_ratio", 0.0) > MAX_LENGTH_RATIO:
        yield (
            f"Vectors differ in length (coefficient of variation {last['length_cv']:.2f}, the longest "
            f"{last['length_ratio']:.1f} times the median): long ones come first whatever is asked. Lower the learning "
            "rate, or compare by cosine: --set encoder.normalize=true with a temperature of 0.05"
        )
    if last["mean_cosine"] > first["mean_cosine"] + MAX_COSINE_RISE or (
        last["effective_rank"] < MIN_RANK_SHARE * first["effective_rank"]
    ):
        yield (
            f"Vectors have become alike: the mean cosine of two documents went from {first['mean_cosine']:.2f} to "
            f"{last['mean_cosine']:.2f}, their effective rank from {first['effective_rank']:.0f} to "
            f"{last['effective_rank']:.0f}. Lower the learning rate, or raise the temperature."
        )
    yield from _views(looks)
    yield from _zigzag(first, last)
    lost = first["general"] - last["general"]
    if lost > FORGOTTEN:
        yield (
            f"The model has forgotten some of what it knew: nDCG@10 on documents about something else fell by "
            f"{lost:.3f} at full strength. Lower the learning rate or the number of steps."
        )


def warnings_of_phase(phase: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the size and the losses of a phase on the weights give cause to say."""
    rows, steps = phase.get("rows"), phase["planned_steps"]
    if rows is None:
        return
    if rows < FEW_ROWS:
        yield (
            f"A phase learns from {rows:,} rows only; {FEW_ROWS} are few. Add documents, or ask for more queries of each: "
            "generate.kinds, or generate.llm.tasks"
        )
    if steps < FEW_STEPS:
        yield (
            f"A phase has {steps:,} steps only, too few to learn much. Set a smaller batch_size or accumulate, "
            "or more epochs."
        )
    if phase.get("loss") == LossType.CONTRASTIVE:
        yield from _memorised(phase["log"], steps)


def _zigzag(first: Mapping[str, Any], last: Mapping[str, Any]) -> Iterator[str]:
    """Tell where one way of asking pays for the others, and where people gain much less than what is made."""
    gains = {
        name.removeprefix("dev_"): last[name] - first[name]
        for name in first
        if name.startswith("dev_") and name in last
    }
    if last.get("dev", 0.0) > first.get("dev", 0.0):
        for family, gain in gains.items():
            if gain < -FAMILY_LOSS:
                yield (
                    f"The mean on dev rises, but {family} fall by {-gain:.3f} nDCG@10: one way of asking pays for the "
                    "others. Give its kinds more weight (kinds of the phase, or generate.weights), or lower the learning rate."
                )
    made = [gain for family, gain in gains.items() if family != PEOPLE]
    if PEOPLE in gains and made:
        mean = statistics.mean(made)
        if mean > FAMILY_LOSS and mean > SYNTHETIC_TIMES * gains[PEOPLE]:
            yield (
                f"What is learned is the style of made queries: they gain {mean:.3f} nDCG@10 on dev, people's "
                f"{gains[PEOPLE]:.3f}. Mix more kinds of query, give people's own to learn from (generate.pairs), or train less."
            )


def _separation(looks: Sequence[Mapping[str, Any]], steps: int) -> Iterator[str]:
    for look in looks:
        share, done = look.get("separated"), look.get("step", 0) / max(1, steps)
        if share is None:
            continue
        if look["hardness"] < EASY_HARDNESS and done <= EASY_UNTIL:
            yield (
                f"The negatives are easy: the hardest scores {look['hardness']:.0%} of the positive on the median. "
                "Harder ones teach more: --set mine.candidates=200"
            )
            return
        if share < BROKEN_SHARE and done >= BROKEN_FROM:
            yield (
                f"Only {share:.0%} of the queries score their own document above their negatives after {done:.0%} "
                "of the steps. Look at the rows of triplets/train.parquet: are the queries right, and the prompts?"
            )
            return


def _views(looks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    seen = [look for look in looks if HIT_MAPS in look]
    for at in range(2, len(seen) + 1):
        if part_ways(seen[:at], VIEWS_PART):
            best, look = max(seen[:at], key=lambda one: one[HIT_PLAIN]), seen[at - 1]
            yield (
                f"The model learns the form of entity maps more than what they say: from step {best['step']} to "
                f"{look['step']} hit@1 fell from {best[HIT_PLAIN]:.3f} to {look[HIT_PLAIN]:.3f} on plain texts and rose "
                f"from {best[HIT_MAPS]:.3f} to {look[HIT_MAPS]:.3f} on maps. Mix both views "
                "(--set train.phases.0.view_share=0.5), or lower the learning rate."
            )
            return


def _memorised(log: Sequence[Mapping[str, Any]], steps: int) -> Iterator[str]:
    """Tell where the loss is all but zero after a few steps: what is known already teaches nothing."""
    early = [entry["loss"] for entry in log if "loss" in entry and entry.get("step", 0) <= TINY_UNTIL * steps]
    if len(early) > 1 and statistics.median(early[len(early) // 2 :]) < TINY_LOSS:
        yield (
            f"The loss is below {TINY_LOSS} after {TINY_UNTIL:.0%} of the steps: the negatives are too easy, or the rows "
            "are known by heart. Mine harder ones (--set mine.cap.value=0.98), or set fewer epochs."
        )


def _others(looks: Sequence[Mapping[str, Any]], steps: int) -> Iterator[str]:
    for look in looks:
        share, done = look.get("above_others", 1.0), look.get("step", 0) / max(1, steps)
        if share < LEAST_ABOVE and done >= ABOVE_FROM:
            yield (
                f"After {done:.0%} of the steps a query's own document scores above another query's in {share:.0%} of "
                "the cases only. Raise the learning rate or the batch_size, and look whether the pairs fit together."
            )
            return


def has_forgotten(log: Sequence[Mapping[str, Any]], most: float) -> bool:
    """Tell whether more is forgotten since the first look than this."""
    known = [entry["general"] for entry in log if "general" in entry]
    return len(known) > 1 and known[0] - known[-1] > most


def gradient_jumps(log: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the steps whose gradient was many times the running median."""
    steps = [(entry["step"], entry["grad_norm"]) for entry in log if "grad_norm" in entry]
    return [
        step
        for at, (step, gradient) in enumerate(steps)
        if at >= GRADIENTS_FIRST
        and gradient > GRADIENT_JUMP * statistics.median(norm for _, norm in steps[max(0, at - GRADIENTS_KEPT) : at])
    ]


def warnings_of_rows(train: Path) -> Iterator[str]:
    """Yield what the rows that are learned from give cause to say."""
    share = false_negatives(train)
    if share > MAX_FALSE_NEGATIVES:
        yield (
            f"{share:.1%} of the mined negatives score nearly as high as the positive: some will be answers that "
            f"nobody marked. --set mine.cap.value={MAX_NEGATIVE_SHARE}"
        )


def false_negatives(train: Path) -> float:
    """Return the share of mined negatives that score nearly as high as the positive."""
    table = pq.read_table(train)
    if "score_positive" not in table.column_names:
        return 0.0
    right = table["score_positive"].to_numpy()
    cap = right - (1 - MAX_NEGATIVE_SHARE) * np.abs(right) + ROUNDING
    above, total, at = 0, 0, 1
    while f"score_negative_{at}" in table.column_names:
        mined = np.array([miner != "given" for miner in table[f"negative_{at}_miner"].to_pylist()])
        above += int((table[f"score_negative_{at}"].to_numpy() > cap)[mined].sum())
        total += int(mined.sum())
        at += 1
    return above / total if total else 0.0
