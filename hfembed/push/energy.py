"""Energy: what a run drew and emitted, estimated from its seconds and its machine; nothing was measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A core at work, and a GPU that is not listed: the defaults of Green Algorithms (Lannelongue et al. 2021).
CORE_WATTS = 12
OTHER_GPU_WATTS = 200
# What makers state as the most that a board draws.
GPU_WATTS = {
    "H200": 700, "H100": 700, "A100": 400, "L40S": 350, "L40": 300, "RTX PRO 6000": 600, "A10G": 150, "A10": 150,
    "L4": 72, "T4": 70, "V100": 300, "RTX 4090": 450, "RTX 3090": 350,
}  # fmt: skip
# Of a machine that nobody wrote down.
UNKNOWN_WATTS = 100
# The world's electricity on the mean (IEA 2019), which codecarbon also falls back on.
GRAMS_PER_KWH = 475

CORES = re.compile(r"(\d+) x ")
NO_GPU = "no GPU"


@dataclass(frozen=True)
class Energy:
    """An estimate and what it rests on."""

    watt_hours: float
    basis: str
    grams_per_kwh: int = GRAMS_PER_KWH

    @property
    def grams(self) -> float:
        """CO2 equivalents."""
        return self.watt_hours / 1000 * self.grams_per_kwh

    @property
    def source(self) -> str:
        """The estimate in words, as metadata give it."""
        return f"estimated by hfembed: {self.basis} for the whole time, at {self.grams_per_kwh} g/kWh; not measured"


def estimate(machine: str, seconds: float) -> Energy:
    """Estimate a run from what it wrote down of its machine: `GPU, N x PROCESSOR` or `N x PROCESSOR, no GPU`."""
    match = CORES.search(machine)
    if match is None:
        return Energy(UNKNOWN_WATTS * seconds / 3600, f"{UNKNOWN_WATTS} W for a machine that is not known")
    cores = int(match[1])
    watts, parts = cores * CORE_WATTS, [f"{cores} cores at {CORE_WATTS} W"]
    if not machine.endswith(NO_GPU):
        name = machine.partition(",")[0]
        board = next((watts for known, watts in GPU_WATTS.items() if known in name), OTHER_GPU_WATTS)
        watts, parts = watts + board, [*parts, f"a GPU at {board} W"]
    return Energy(watts * seconds / 3600, " and ".join(parts))
