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


def _compute(
    vendor: str,
    region: str,
    kind: str,
    title: str,
    size: int,
    cpus: int,
    memory: int,
    price: float,
    gpu_memory: int = 0,
) -> dict[str, Any]:
    return {
        "id": f"{vendor}-{region}-{kind}-x{size}",
        "accelerator": "gpu" if gpu_memory else "cpu",
        "instanceType": kind,
        "instanceSize": f"x{size}",
        "architecture": title,
        "numAccelerators": size if gpu_memory else 1,
        "numCpus": cpus,
        "memoryGb": memory,
        "gpuMemoryGb": gpu_memory or None,
        "pricePerHour": price,
        "status": "available",
        "quota": {"maxAccelerators": 8, "usedAccelerators": 0},
    }


def _region(vendor: str, name: str, label: str) -> dict[str, Any]:
    cpus = [
        _compute(vendor, name, "intel-spr", "Intel Sapphire Rapids", size, size, 2 * size, 0.0335 * size)
        for size in (1, 2, 4, 8, 16)
    ]
    gpus = [
        _compute(vendor, name, "nvidia-t4", "NVIDIA T4", 1, 3, 14, 0.5, 14),
        _compute(vendor, name, "nvidia-l4", "NVIDIA L4", 1, 7, 30, 0.8, 24),
        _compute(vendor, name, "nvidia-a10g", "NVIDIA A10G", 1, 6, 30, 1.0, 24),
        _compute(vendor, name, "nvidia-l40s", "NVIDIA L40S", 1, 7, 30, 1.8, 48),
        _compute(vendor, name, "nvidia-a100", "NVIDIA A100", 1, 11, 145, 2.5, 80),
    ]
    return {"name": name, "label": label, "status": "available", "computes": [*cpus, *gpus]}


# What Inference Endpoints stand on, at the public prices of autumn 2026.
ENDPOINT_HARDWARE: list[dict[str, Any]] = [
    {
        "name": "aws",
        "status": "available",
        "regions": [_region("aws", "us-east-1", "N. Virginia"), _region("aws", "eu-west-1", "Ireland")],
    }
]
