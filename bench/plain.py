"""Plain fine-tuning as the quick-start of sentence-transformers shows it, in a given time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfembed.embed import has_fast_bf16, load_model
from hfembed.hub import ModelSource

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 32
LEARNING_RATE = 2e-5
WARMUP = 0.1
SEED = 42
# So many steps tell how long a step takes; the first ones are slower than the rest and do not count.
TRIED, PASSED_OVER = 8, 3


@dataclass(frozen=True)
class Plan:
    """What is trained on what, and for how long at most."""

    base: ModelSource
    pairs: dict[str, list[str]]
    seconds: float
    clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Trained:
    """Where the model is, what its training took, and how many steps a whole epoch has."""

    folder: Path
    seconds: float
    steps: int
    epoch: int


def fine_tune(plan: Plan, folder: Path) -> Trained:
    """Train for one epoch, or as many steps as fit into the time."""
    _, times, epoch = train(load_model(plan.base), plan, folder, steps=TRIED)
    pace = (times[-1] - times[PASSED_OVER - 1]) / (len(times) - PASSED_OVER)
    wanted = min(epoch, max(1, round(plan.seconds / pace)))
    model, times, _ = train(load_model(plan.base), plan, folder, steps=wanted)
    model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
    return Trained(folder, times[-1], len(times), epoch)


def train(
    model: SentenceTransformer, plan: Plan, folder: Path, steps: int
) -> tuple[SentenceTransformer, list[float], int]:
    """Train so many steps; return the model, the seconds at the end of each step, and the steps of an epoch.

    The learning rate falls to zero at the last step; should the machine turn slow, the plan's seconds end it before.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.training_args import BatchSamplers
    from transformers import PrinterCallback, TrainerCallback

    class Clock(TrainerCallback):
        """Notes when each step ends."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.started = plan.clock()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.times.append(plan.clock() - self.started)
            control.should_training_stop |= self.times[-1] >= plan.seconds and len(self.times) >= TRIED

    clock = Clock()
    device = model.device.type
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            warmup_steps=round(WARMUP * steps),
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            bf16=has_fast_bf16(device),
            use_cpu=device == "cpu",
            seed=SEED,
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=device == "cuda",
        ),
        train_dataset=Dataset.from_dict(plan.pairs),
        loss=MultipleNegativesRankingLoss(model),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    epoch = len(trainer.get_train_dataloader())
    trainer.train()
    return model, clock.times, epoch
