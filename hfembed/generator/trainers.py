"""TRL's trainers, which tell nobody but us, and the arguments that both share."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback
from trl import GRPOTrainer, SFTTrainer

from hfembed.errors import StageError
from hfembed.generator.settings import Training
from hfembed.train.checkpoints import last_checkpoint

NOISY = ("trl", "transformers", "accelerate")
Log = list[dict[str, float]]


class _Quiet:
    """Sends no telemetry, and writes no card beside checkpoints."""

    def _send_telemetry(self) -> None:
        """Tell nobody."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: what there is to say stands in generator.json."""


class Taught(_Quiet, SFTTrainer):  # type: ignore[misc]
    """TRL's supervised fine-tuning."""


class Rewarded(_Quiet, GRPOTrainer):  # type: ignore[misc]
    """TRL's group relative policy optimization."""


def arguments(settings: Training, folder: Path) -> dict[str, Any]:
    """Return what both trainers are told."""
    gpu = torch.cuda.is_available()
    if gpu and torch.cuda.device_count() > 1:
        raise StageError(
            f"{torch.cuda.device_count()} GPUs are visible, and the generator learns on one.",
            "export CUDA_VISIBLE_DEVICES=0",
        )
    # Nothing here is left to the environment: the process may train again.
    return {
        "output_dir": str(folder),
        "seed": settings.seed,
        "data_seed": settings.seed,
        "use_cpu": not gpu,
        "bf16": gpu and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": False,  # small models have room; it costs a fifth of the speed
        "lr_scheduler_type": "linear",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "save_total_limit": 2,
        "eval_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
        "dataloader_pin_memory": gpu,
    }


def train(trainer: Any, folder: Path) -> Log:
    """Train, from the newest checkpoint where there is one; return what was logged."""
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return [dict(entry) for entry in trainer.state.log_history]


def hush() -> None:
    """Silence the libraries' own words: progress goes through the Reporter."""
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.ERROR)
