"""Ending a phase before all is learned: three rules over what was logged, and how far the loss has come.

What is learned from entity maps helps plain texts at first, and later only the maps: hit@1 on both, and how much of
the loss is gone, tell when to end. Everything is decided from the trainer's log, so a run that was killed decides the
same. How low the loss would fall is told by a pilot, which learns a few batches by heart beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import fmean
from typing import Any

from hfembed.recipe import PreConvergence, View

HIT_PLAIN, HIT_MAPS = (f"hit@1_{view}" for view in (View.PLAIN, View.ENTITY_MAP))
# The loss of single steps is noise; where it starts is their mean over this share of a phase.
SMOOTHING, FIRST_SHARE = 0.9, 0.05
# A pilot is over where the smoothed loss has fallen by less than this share of its first in so many steps.
FLAT, FLAT_STEPS = 0.01, 10

Log = Sequence[Mapping[str, Any]]


class Rule(StrEnum):
    """Why a phase ends before all is learned."""

    NOT_RISEN = "plain_has_not_risen"
    PROGRESS = "loss_has_come_far"
    APART = "views_part"
    FORGOTTEN = "too_much_is_forgotten"


def find_rule(log: Log, settings: PreConvergence, steps: int, lowest: float | None) -> Rule | None:
    """Return the first rule that ends a phase of `steps` after what was logged; None where none does."""
    looks = [entry for entry in log if HIT_PLAIN in entry and entry["step"]]
    if not looks:
        return None
    plain = [float(look[HIT_PLAIN]) for look in looks]
    best = plain.index(max(plain))
    if len(plain) - 1 - best >= settings.patience:
        return Rule.NOT_RISEN
    if (progress_of(log, steps, lowest) or 0.0) >= settings.progress:
        return Rule.PROGRESS
    return Rule.APART if part_ways(looks, settings.divergence) else None


def part_ways(looks: Log, divergence: float) -> bool:
    """Tell whether, since the best look at plain texts, these have lost and maps have gained."""
    if not looks or not all(HIT_MAPS in look for look in looks):
        return False
    best, last = max(looks, key=lambda look: look[HIT_PLAIN]), looks[-1]
    return bool(best[HIT_PLAIN] - last[HIT_PLAIN] > divergence and last[HIT_MAPS] > best[HIT_MAPS])


def progress_of(log: Log, steps: int, lowest: float | None) -> float | None:
    """Return how far the loss has come from where it started to the lowest; None where that cannot be told."""
    losses = losses_of(log)
    first = math.ceil(FIRST_SHARE * steps)
    if lowest is None or len(losses) < first:
        return None
    start = fmean(losses[:first])
    return (start - smooth(losses)[-1]) / (start - lowest) if start > lowest else None


def losses_of(log: Log) -> list[float]:
    """Return the loss of every step."""
    return [float(entry["loss"]) for entry in log if "loss" in entry]


def smooth(losses: Sequence[float]) -> list[float]:
    """Return the exponential mean of losses up to each step."""
    means: list[float] = []
    for loss in losses:
        means.append(SMOOTHING * means[-1] + (1 - SMOOTHING) * loss if means else loss)
    return means


def is_flat(losses: Sequence[float]) -> bool:
    """Tell whether the loss falls no more."""
    means = smooth(losses)
    return len(means) >= 2 * FLAT_STEPS and means[-1 - FLAT_STEPS] - means[-1] < FLAT * means[0]


def describe_ending(log: Log, settings: PreConvergence, steps: int, lowest: float | None) -> dict[str, Any]:
    """Return which rule ended the phase where, which step's weights are kept, and how many steps it would have had."""
    places = [at for at, entry in enumerate(log) if HIT_PLAIN in entry and entry["step"]]
    seen = log[: places[-1] + 1] if places else []  # what was known when it was decided
    step = int(seen[-1]["step"]) if places else 0
    plain = [(int(log[at]["step"]), float(log[at][HIT_PLAIN])) for at in places]
    progress = progress_of(seen, steps, lowest)
    return {
        # What ends a phase beside these rules is that too much is forgotten.
        "rule": (find_rule(seen, settings, steps, lowest) or Rule.FORGOTTEN) if 0 < step < steps else None,
        "step": step,
        "planned_steps": steps,
        "kept_step": max(plain, key=lambda look: (look[1], -look[0]))[0] if plain else None,
        "progress": None if progress is None else round(progress, 4),
    }
