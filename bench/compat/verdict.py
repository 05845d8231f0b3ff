"""What counts as the same vectors, and as those of the base."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compat.text_embeddings_inference import Vectors

MAX_DISTANCE = 1e-5
# Vectors that differ from the base's by less than this many tolerances prove nothing.
MIN_BASE_DISTANCE = 100 * MAX_DISTANCE


@dataclass(frozen=True)
class Measured:
    """One row of the table."""

    engine: str
    version: str
    tuned: float | None
    base: float | None
    problem: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Tell whether vectors were compared and nothing was found wrong."""
        return not self.problem and self.tuned is not None


def judge(engine: str, version: str, vectors: Vectors, tuned: Vectors, base: Vectors) -> Measured:
    """Compare vectors with those of the tuned and of the base model."""
    if vectors.shape != tuned.shape:
        return Measured(engine, version, None, None, f"gives {vectors.shape} numbers instead of {tuned.shape}")
    to_tuned, to_base = (float(np.abs(vectors - other).max()) for other in (tuned, base))
    problem = ""
    # Written so that NaN fails.
    if not to_base >= MIN_BASE_DISTANCE:
        problem = "gives the base's vectors"
    elif not to_tuned <= MAX_DISTANCE:
        problem = "gives other vectors"
    return Measured(engine, version, to_tuned, to_base, problem)
