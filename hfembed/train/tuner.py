"""One phase on the encoder's own weights: sentence-transformers' trainer, fed by our plan and watched by us."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from hfembed.embed import Precision, Role, load_model, prompt_of
from hfembed.encoder import EMBEDDING
from hfembed.events import Reporter, silent
from hfembed.heads.module import TOKEN_VECTORS, TOKEN_WEIGHTS, add_heads, heads_of
from hfembed.hub import ModelSource
from hfembed.recipe import Heads, Tracker, TrainMethod, Tuning
from hfembed.together import from_first, processes
from hfembed.train.checkpoints import BEST, WEIGHTS, Log, learning, restore, save
from hfembed.train.full import full
from hfembed.train.lora import lora, qlora
from hfembed.train.losses import make_loss
from hfembed.train.m3 import Pace, PacedLoss
from hfembed.train.watch import Pilot, Watch


class Method(Protocol):
    """How a phase makes part of a model learn: yields what is trained, and leaves the result in `model`."""

    def __call__(
        self, model: SentenceTransformer, source: ModelSource, phase: Tuning
    ) -> AbstractContextManager[SentenceTransformer]:
        """Make part of the model learn for as long as the context lasts."""


METHODS: dict[TrainMethod, Method] = {TrainMethod.FULL: full, TrainMethod.LORA: lora, TrainMethod.QLORA: qlora}
Look = Callable[[SentenceTransformer], dict[str, Any]]
GRADIENT_CLIP = 1.0
# The names of the heads' own weights.
HEADS_LEARN = r"(sparse|colbert)_linear\."


@dataclass(frozen=True)
class Task:
    """What one phase is trained with, in every process that takes part.

    source: the model that enters. heads: what it gets beside its one vector. guide: the model that the loss listens to.
    columns: texts, and labels of a teacher. folder: where checkpoints stand until the phase is done. checkpoint: the one
    to go on from. pilot: learns a few batches by heart, at one learning rate, and is watched for its loss alone. lowest:
    the loss that it came to.
    """

    source: ModelSource
    heads: Heads
    guide: ModelSource | None
    phase: Tuning
    columns: dict[str, list[Any]]
    batches: list[list[int]]
    max_length: int
    precision: Precision
    seed: int
    folder: Path
    checkpoint: Path | None
    trackers: tuple[Tracker, ...]
    tensorboard: Path
    checkpoint_seconds: float
    pilot: bool = False
    lowest: float | None = None

    @property
    def steps(self) -> int:
        """How many steps the batches make."""
        return len(self.batches) // (self.phase.accumulate * processes())


class Tuner(SentenceTransformerTrainer):  # type: ignore[misc]
    """The trainer, with batches that were planned and checkpoints that hold what learns and nothing else."""

    def __init__(self, batches: list[list[int]], **options: Any) -> None:
        """Train on these batches, in this order."""
        self.batches = batches
        super().__init__(**options)

    def get_batch_sampler(self, *_: Any, **__: Any) -> list[list[int]]:
        """Return the plan."""
        return self.batches

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add none: hfembed writes the card from the run's manifests."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save(learning(self.model), Path(str(output_dir)) / WEIGHTS)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        restore(self.model, Path(checkpoint_path) / WEIGHTS)


def tune(model: SentenceTransformer, task: Task, look: Look, report: Reporter) -> tuple[Log, Watch]:
    """Train the model in place, from a checkpoint where there is one; return what was logged and who watched.

    look: what is to be logged of the model as it is. The processes that follow begin here.
    """
    log, watch = _train(model, from_first(task), look, report)
    assert isinstance(watch, Watch)
    return log, watch


def try_out(model: SentenceTransformer, task: Task, report: Reporter) -> Log:
    """Train a pilot, in place; return what was logged."""
    return _train(model, from_first(task), lambda _: {}, report)[0]


def train_along(task: Task) -> None:
    """Train what the first process trains; what that one sees when it looks is what counts."""
    _train(add_heads(load_model(task.source), task.heads), task, lambda _: {}, silent())


def _train(model: SentenceTransformer, task: Task, look: Look, report: Reporter) -> tuple[Log, Watch | Pilot]:
    torch.manual_seed(task.seed)  # the first weights of adapters
    whole = model.max_seq_length
    with METHODS[task.phase.method](model, task.source, task.phase) as learner:
        learner.max_seq_length = task.max_length
        guide = load_model(task.guide) if task.guide else None
        watch = _watch(task, partial(look, learner), report)
        loss = make_loss(learner, task.phase, guide, task.columns, task.steps)
        trainer = Tuner(
            batches=task.batches,
            model=learner,
            args=_arguments(learner, task),
            train_dataset=Dataset.from_dict(task.columns),
            loss=loss,
            callbacks=[watch, *([Pace(loss)] if isinstance(loss, PacedLoss) else []), *_tensorboard(task)],
        )
        _only_watch(trainer)
        if isinstance(watch, Watch):
            watch.attend(trainer)
        with _computing_in(task.precision, learner, guide):
            trainer.train(resume_from_checkpoint=str(task.checkpoint) if task.checkpoint else None)
        if isinstance(watch, Watch) and watch.best_is_kept():
            restore(learner, task.folder / BEST)
    model.max_seq_length = whole
    return [dict(entry) for entry in trainer.state.log_history], watch


def _watch(task: Task, look: Callable[[], dict[str, Any]], report: Reporter) -> Watch | Pilot:
    if task.pilot:
        return Pilot(task.steps, report)
    return Watch(task.phase.stop, task.steps, look, task.folder, task.checkpoint_seconds, report, task.lowest)


@contextmanager
def _computing_in(precision: Precision, *models: SentenceTransformer | None) -> Iterator[None]:
    """Encode in this precision and compare in full: the trainer's own autocast would round the losses too."""
    found = [model for model in models if model is not None] if precision is not Precision.FP32 else []
    for model in found:
        model.forward = partial(_encode_fast, model, model.forward)
    try:
        yield
    finally:
        for model in found:
            del model.forward


def _encode_fast(model: SentenceTransformer, forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        features: dict[str, Any] = forward(*inputs, **options)
    return features | {
        name: features[name].float() for name in (EMBEDDING, TOKEN_WEIGHTS, TOKEN_VECTORS) if name in features
    }


def _arguments(model: SentenceTransformer, task: Task) -> SentenceTransformerTrainingArguments:
    phase = task.phase
    of_heads = {HEADS_LEARN: task.heads.learning_rate} if heads_of(model) is not None else {}
    # The stage runs inside a process that may train again: nothing here reads the environment.
    return SentenceTransformerTrainingArguments(
        output_dir=str(task.folder),
        num_train_epochs=1,
        per_device_train_batch_size=phase.batch_size,
        gradient_accumulation_steps=phase.accumulate,
        learning_rate=phase.peak(),
        learning_rate_mapping=of_heads,
        weight_decay=phase.weight_decay,
        warmup_steps=_warmup(phase, math.ceil(len(task.batches) / phase.accumulate)),
        lr_scheduler_type="constant_with_warmup" if task.pilot else "cosine",
        max_grad_norm=GRADIENT_CLIP,
        use_cpu=model.device.type == "cpu",
        seed=task.seed,
        data_seed=task.seed,
        prompts=prompts_of(model, list(task.columns)),
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        save_total_limit=2,
        eval_strategy="no",
        disable_tqdm=True,
        report_to=[str(name) for name in task.trackers if name is not Tracker.TENSORBOARD] or "none",
        dataloader_pin_memory=model.device.type == "cuda",
    )


def _warmup(phase: Tuning, steps: int) -> int:
    return round(phase.warmup * steps) if phase.warmup_steps is None else min(phase.warmup_steps, steps)


def prompts_of(model: SentenceTransformer, columns: list[str]) -> dict[str, str]:
    """Return the text that stands before each column: that of its role, as encode puts it there."""
    roles: Mapping[str, Role] = {"query": Role.QUERY}
    prompts = {name: prompt_of(model, roles.get(name, Role.DOCUMENT)) for name in columns if name != "label"}
    return {name: prompt for name, prompt in prompts.items() if prompt}


def _tensorboard(task: Task) -> list[Any]:
    """Return what writes for TensorBoard, where the recipe asks for it: not beside checkpoints, which go away."""
    if Tracker.TENSORBOARD not in task.trackers:
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    return [TensorBoardCallback(SummaryWriter(task.tensorboard))]  # type: ignore[no-untyped-call]


def _only_watch(trainer: Tuner) -> None:
    """Silence the trainer's own printing: progress goes through the Reporter."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    for noisy in ("sentence_transformers", "transformers"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
