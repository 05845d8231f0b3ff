"""Hardware that Jobs and Spaces may ask for, as the Hub tells it."""

from __future__ import annotations

from typing import Any

from hfembed.hardware import HARDWARE as KNOWN
from hfembed.hardware import SPACE_HARDWARE as KNOWN_OF_SPACES
from hfembed.hardware import Hardware


def _describe(item: Hardware) -> dict[str, Any]:
    minute = (item.hourly or 0.0) / 60
    accelerator = None
    if item.gpus:
        accelerator = {
            "type": "gpu",
            "model": item.gpu,
            "quantity": str(item.gpus),
            "vram": f"{item.gpu_memory:g} GB",
            "manufacturer": "Nvidia",
        }
    return {
        "name": item.name,
        "prettyName": item.title,
        "cpu": f"{item.cpus} vCPU",
        "ram": f"{item.memory:g} GB",
        "ephemeralStorage": "50 GB",
        "accelerator": accelerator,
        "unitCostMicroUSD": round(minute * 1_000_000),
        "unitCostUSD": round(minute, 6),
        "unitLabel": "minute",
    }


HARDWARE: list[dict[str, Any]] = [_describe(item) for item in KNOWN]
JOB_HARDWARE = tuple(item.name for item in KNOWN)
HARDWARE_OF_SPACES: list[dict[str, Any]] = [_describe(item) for item in KNOWN_OF_SPACES]
SPACE_HARDWARE = (*(item.name for item in KNOWN_OF_SPACES), "zero-a10g")
