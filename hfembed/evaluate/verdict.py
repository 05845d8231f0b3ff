"""Is the tuned model better? A paired bootstrap over queries, and the verdict in one word."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

# Standard errors between no effect and the smallest effect that a test of this size finds in 8 of 10
# cases at the 5 % level: 1.96 + 0.84.
DETECTABLE = 2.8


class Verdict(StrEnum):
    """What the evidence says."""

    BETTER = "better"
    NO_DIFFERENCE = "no difference"
    WORSE = "worse"


@dataclass(frozen=True)
class Comparison:
    """Tuned against base on one metric."""

    delta: float
    low: float
    high: float
    detectable: float
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Return the comparison for the report."""
        return asdict(self)


def compare_paired(
    base: Numbers, tuned: Numbers, clusters: list[str], samples: int, confidence: float, seed: int
) -> Comparison:
    """Bootstrap the mean difference by whole clusters.

    Queries about one document rise and fall together; drawing them one by one would make the interval
    too narrow. A cluster is the document (or group of near-duplicates) that answers.
    """
    difference = tuned - base
    numbers = np.unique(np.array(clusters), return_inverse=True)[1]
    sums = np.bincount(numbers, weights=difference)
    sizes = np.bincount(numbers).astype(np.float64)
    draw = np.random.default_rng(seed)
    means = np.empty(samples)
    for at in range(samples):
        drawn = draw.integers(len(sums), size=len(sums))
        means[at] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    verdict = Verdict.BETTER if low > 0 else Verdict.WORSE if high < 0 else Verdict.NO_DIFFERENCE
    return Comparison(
        delta=float(difference.mean()),
        low=float(low),
        high=float(high),
        detectable=float(DETECTABLE * means.std()),
        verdict=verdict,
    )
