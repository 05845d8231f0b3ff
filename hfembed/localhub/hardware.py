"""Hardware that Jobs and Spaces may ask for, with the Hub's public prices in dollars an hour."""

from __future__ import annotations

from typing import Any

# name, pretty name, processors, memory, accelerator, dollars an hour
_TABLE = (
    ("cpu-basic", "CPU Basic", "2 vCPU", "16 GB", None, 0.01),
    ("cpu-upgrade", "CPU Upgrade", "8 vCPU", "32 GB", None, 0.03),
    ("cpu-xl", "CPU XL", "16 vCPU", "124 GB", None, 1.00),
    ("cpu-performance", "CPU Performance", "32 vCPU", "256 GB", None, 1.90),
    ("t4-small", "Nvidia T4 - small", "4 vCPU", "15 GB", ("1", "T4", "16 GB"), 0.40),
    ("t4-medium", "Nvidia T4 - medium", "8 vCPU", "30 GB", ("1", "T4", "16 GB"), 0.60),
    ("l4x1", "1x Nvidia L4", "8 vCPU", "30 GB", ("1", "L4", "24 GB"), 0.80),
    ("l4x4", "4x Nvidia L4", "48 vCPU", "186 GB", ("4", "L4", "96 GB"), 3.80),
    ("l40sx1", "1x Nvidia L40S", "8 vCPU", "62 GB", ("1", "L40S", "48 GB"), 1.80),
    ("l40sx4", "4x Nvidia L40S", "48 vCPU", "382 GB", ("4", "L40S", "192 GB"), 8.30),
    ("l40sx8", "8x Nvidia L40S", "192 vCPU", "1534 GB", ("8", "L40S", "384 GB"), 23.50),
    ("a10g-small", "Nvidia A10G - small", "4 vCPU", "15 GB", ("1", "A10G", "24 GB"), 1.00),
    ("a10g-large", "Nvidia A10G - large", "12 vCPU", "46 GB", ("1", "A10G", "24 GB"), 1.50),
    ("a10g-largex2", "2x Nvidia A10G - large", "24 vCPU", "92 GB", ("2", "A10G", "48 GB"), 3.00),
    ("a10g-largex4", "4x Nvidia A10G - large", "48 vCPU", "184 GB", ("4", "A10G", "96 GB"), 5.00),
    ("a100-large", "Nvidia A100 - large", "12 vCPU", "142 GB", ("1", "A100", "80 GB"), 2.50),
    ("a100x4", "4x Nvidia A100", "48 vCPU", "568 GB", ("4", "A100", "320 GB"), 10.00),
    ("a100x8", "8x Nvidia A100", "96 vCPU", "1136 GB", ("8", "A100", "640 GB"), 20.00),
    ("h200", "Nvidia H200", "23 vCPU", "256 GB", ("1", "H200", "141 GB"), 5.00),
    ("h200x2", "2x Nvidia H200", "46 vCPU", "512 GB", ("2", "H200", "282 GB"), 10.00),
    ("h200x4", "4x Nvidia H200", "92 vCPU", "1024 GB", ("4", "H200", "564 GB"), 20.00),
    ("h200x8", "8x Nvidia H200", "184 vCPU", "2048 GB", ("8", "H200", "1128 GB"), 40.00),
    ("rtx-pro-6000", "Nvidia RTX PRO 6000", "22 vCPU", "140 GB", ("1", "RTX PRO 6000", "96 GB"), 2.75),
    ("rtx-pro-6000x2", "2x Nvidia RTX PRO 6000", "44 vCPU", "280 GB", ("2", "RTX PRO 6000", "192 GB"), 5.50),
    ("rtx-pro-6000x4", "4x Nvidia RTX PRO 6000", "88 vCPU", "560 GB", ("4", "RTX PRO 6000", "384 GB"), 11.00),
    ("rtx-pro-6000x8", "8x Nvidia RTX PRO 6000", "176 vCPU", "1120 GB", ("8", "RTX PRO 6000", "768 GB"), 22.00),
)


def _describe(
    name: str, pretty: str, cpu: str, ram: str, gpu: tuple[str, str, str] | None, hourly: float
) -> dict[str, Any]:
    minute = hourly / 60
    accelerator = None
    if gpu is not None:
        accelerator = {
            "type": "gpu",
            "model": gpu[1],
            "quantity": gpu[0],
            "vram": gpu[2],
            "manufacturer": "Nvidia",
        }
    return {
        "name": name,
        "prettyName": pretty,
        "cpu": cpu,
        "ram": ram,
        "ephemeralStorage": "50 GB",
        "accelerator": accelerator,
        "unitCostMicroUSD": round(minute * 1_000_000),
        "unitCostUSD": round(minute, 6),
        "unitLabel": "minute",
    }


HARDWARE: list[dict[str, Any]] = [_describe(*row) for row in _TABLE]
JOB_HARDWARE = tuple(row[0] for row in _TABLE)
SPACE_HARDWARE = (*JOB_HARDWARE, "zero-a10g")
