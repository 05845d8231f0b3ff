"""Hardware of the Hub's Jobs and Spaces: what each flavor has, and its public price."""

from __future__ import annotations

from dataclasses import dataclass, replace

# When the prices below were read; where the Hub itself can be asked, its answer counts.
DATED = "autumn 2026"


@dataclass(frozen=True)
class Hardware:
    """A machine that a run can be sent to.

    memory and gpu_memory are in GB, the latter over all GPUs. hourly: dollars an hour; None where nothing is charged.
    """

    name: str
    title: str
    cpus: int
    memory: float
    gpus: int = 0
    gpu: str = ""
    gpu_memory: float = 0.0
    hourly: float | None = None

    def dollars(self, seconds: float) -> float:
        """Return what so many seconds cost."""
        return (self.hourly or 0.0) * seconds / 3600


HARDWARE = (
    Hardware("cpu-basic", "CPU Basic", 2, 16, hourly=0.01),
    Hardware("cpu-upgrade", "CPU Upgrade", 8, 32, hourly=0.03),
    Hardware("cpu-xl", "CPU XL", 16, 124, hourly=1.00),
    Hardware("cpu-performance", "CPU Performance", 32, 256, hourly=1.90),
    Hardware("t4-small", "Nvidia T4 - small", 4, 15, 1, "T4", 16, 0.40),
    Hardware("t4-medium", "Nvidia T4 - medium", 8, 30, 1, "T4", 16, 0.60),
    Hardware("l4x1", "1x Nvidia L4", 8, 30, 1, "L4", 24, 0.80),
    Hardware("l4x4", "4x Nvidia L4", 48, 186, 4, "L4", 96, 3.80),
    Hardware("l40sx1", "1x Nvidia L40S", 8, 62, 1, "L40S", 48, 1.80),
    Hardware("l40sx4", "4x Nvidia L40S", 48, 382, 4, "L40S", 192, 8.30),
    Hardware("l40sx8", "8x Nvidia L40S", 192, 1534, 8, "L40S", 384, 23.50),
    Hardware("a10g-small", "Nvidia A10G - small", 4, 15, 1, "A10G", 24, 1.00),
    Hardware("a10g-large", "Nvidia A10G - large", 12, 46, 1, "A10G", 24, 1.50),
    Hardware("a10g-largex2", "2x Nvidia A10G - large", 24, 92, 2, "A10G", 48, 3.00),
    Hardware("a10g-largex4", "4x Nvidia A10G - large", 48, 184, 4, "A10G", 96, 5.00),
    Hardware("a100-large", "Nvidia A100 - large", 12, 142, 1, "A100", 80, 2.50),
    Hardware("a100x4", "4x Nvidia A100", 48, 568, 4, "A100", 320, 10.00),
    Hardware("a100x8", "8x Nvidia A100", 96, 1136, 8, "A100", 640, 20.00),
    Hardware("h200", "Nvidia H200", 23, 256, 1, "H200", 141, 5.00),
    Hardware("h200x2", "2x Nvidia H200", 46, 512, 2, "H200", 282, 10.00),
    Hardware("h200x4", "4x Nvidia H200", 92, 1024, 4, "H200", 564, 20.00),
    Hardware("h200x8", "8x Nvidia H200", 184, 2048, 8, "H200", 1128, 40.00),
    Hardware("rtx-pro-6000", "Nvidia RTX PRO 6000", 22, 140, 1, "RTX PRO 6000", 96, 2.75),
    Hardware("rtx-pro-6000x2", "2x Nvidia RTX PRO 6000", 44, 280, 2, "RTX PRO 6000", 192, 5.50),
    Hardware("rtx-pro-6000x4", "4x Nvidia RTX PRO 6000", 88, 560, 4, "RTX PRO 6000", 384, 11.00),
    Hardware("rtx-pro-6000x8", "8x Nvidia RTX PRO 6000", 176, 1120, 8, "RTX PRO 6000", 768, 22.00),
)

# What Spaces offer of these: the smallest costs nothing there.
SPACE_HARDWARE = tuple(
    replace(item, hourly=0.0) if item.name == "cpu-basic" else item
    for item in HARDWARE
    if not item.name.startswith(("h200", "cpu-xl", "cpu-performance"))
)
