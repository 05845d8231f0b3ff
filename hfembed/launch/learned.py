"""Learned: how far estimates were off on each kind of hardware, kept for the next one."""

from __future__ import annotations

import json
import math
from pathlib import Path

from hfembed.launch.record import Launch, Outcome
from hfembed.resources import user_cache
from hfembed.run import make_folder, write_json

# Runs that count; older ones tell of older code.
REMEMBERED = 8
# However alike runs were, no two are the same.
LEAST_SPREAD, UNKNOWN_SPREAD = 1.3, math.inf
DOUBT = 1.5

Known = dict[str, dict[str, float]]


def learned_ratio(hardware: str) -> tuple[float, float]:
    """Return how many times as long as estimated runs took there, and by what factor they differed from one another."""
    logs = [math.log(ratio) for ratio in _read().get(hardware, {}).values()]
    if not logs:
        return 1.0, UNKNOWN_SPREAD
    mean = sum(logs) / len(logs)
    spread = math.sqrt(sum((value - mean) ** 2 for value in logs) / len(logs))
    # One run says where the others may be, not that they are there.
    return math.exp(mean), max(LEAST_SPREAD, math.exp(2 * spread)) * DOUBT ** (1 / len(logs))


def learn(launch: Launch, outcome: Outcome) -> float | None:
    """Remember how long an attempt took against its estimate; return the ratio, where it did all it was to do.

    Repeating it changes nothing.
    """
    attempt = launch.attempt
    planned = {name: seconds for name, seconds in attempt.expected.stages.items() if name != "start"}
    if outcome.error or not planned or set(outcome.stages) != set(planned):
        return None
    ratio = sum(outcome.stages.values()) / sum(planned.values())
    known = _read()
    ratios = known.get(attempt.flavor, {}) | {f"{launch.id}/{attempt.number}": round(ratio * attempt.expected.ratio, 4)}
    known[attempt.flavor] = dict(list(ratios.items())[-REMEMBERED:])
    make_folder(_file().parent)
    write_json(_file(), known)
    return ratio


def _file() -> Path:
    return user_cache() / "estimates.json"


def _read() -> Known:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
        return {
            str(name): {str(run): float(ratio) for run, ratio in runs.items() if ratio > 0}
            for name, runs in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # what was learned is a help and no more
