"""lora, qlora: small adapters beside the weights learn, and are merged into them at the end.

What is left is the plain encoder again: a folder of adapters would need peft wherever it is served.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hfembed.embed import load_model
from hfembed.errors import StageError
from hfembed.hub import ModelSource
from hfembed.recipe import Lora, TrainMethod, Tuning
from hfembed.stage import require

if TYPE_CHECKING:
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer

ALL_LINEAR = "all-linear"
BITSANDBYTES = "bitsandbytes"


@contextmanager
def lora(model: SentenceTransformer, source: ModelSource, phase: Tuning) -> Iterator[SentenceTransformer]:
    """Yield the model with adapters that learn; afterwards they are merged and gone."""
    require("train", "peft")
    adapted = add_adapters(model, phase)
    yield model
    merge_adapters(adapted)
    for weight in model.parameters():
        weight.requires_grad_(True)


@contextmanager
def qlora(model: SentenceTransformer, source: ModelSource, phase: Tuning) -> Iterator[SentenceTransformer]:
    """Yield the model in 4 bits with adapters that learn; they are merged into the weights of full precision."""
    refuse_without_gpu()
    import torch
    from peft import get_peft_model_state_dict, prepare_model_for_kbit_training, set_peft_model_state_dict
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    small = load_model(source, quantization_config=config)
    small.max_seq_length = model.max_seq_length
    prepare_model_for_kbit_training(small[0].auto_model, use_gradient_checkpointing=False)  # type: ignore[no-untyped-call]
    learned = add_adapters(small, phase)
    yield small
    adapted = add_adapters(model, phase)
    set_peft_model_state_dict(adapted, get_peft_model_state_dict(learned))
    merge_adapters(adapted)
    for weight in model.parameters():
        weight.requires_grad_(True)


def add_adapters(model: SentenceTransformer, phase: Tuning) -> Any:
    """Put adapters into the encoder, in place; return peft's view of it."""
    from peft import get_peft_model

    try:
        return get_peft_model(model[0].auto_model, lora_config(phase.lora, "FEATURE_EXTRACTION"))
    except ValueError as error:
        raise StageError(
            f"The adapters of a phase do not fit the base: {error}", "Leave out the phase's lora.targets."
        ) from error


def merge_adapters(adapted: Any) -> None:
    """Merge the adapters into the encoder they were put into, which is plain again."""
    adapted.merge_and_unload(safe_merge=True)


def refuse_without_gpu() -> None:
    """Refuse qlora where it cannot work, and say what can."""
    instead = "method: lora does the same without 4 bits, on any machine."
    missing = missing_for_quantizing()
    if missing == BITSANDBYTES:
        raise StageError(
            "qlora needs 'bitsandbytes', which is not installed.", f"pip install bitsandbytes; or {instead}"
        )
    if missing is not None:
        raise StageError("qlora needs a GPU, and this machine has none.", instead)


def missing_for_quantizing() -> str | None:
    """Return what this machine lacks for weights of 4 bits; None where it lacks nothing."""
    import torch

    if not torch.cuda.is_available():
        return "a GPU"
    return BITSANDBYTES if find_spec("bitsandbytes") is None else None


def settle(phase: Tuning) -> tuple[Tuning, str | None]:
    """Return the phase with the method that this machine gives it, and a word on that where it was left open."""
    if phase.method is not TrainMethod.LORA or not phase.lora.quantize:
        return phase, None
    missing = missing_for_quantizing() if phase.lora.quantize == "auto" else None
    if missing is not None:
        return phase, f"adapters learn beside weights of full width: for 4 bits this machine lacks {missing}"
    return phase.model_copy(update={"method": TrainMethod.QLORA}), "adapters learn beside weights of 4 bits"


def lora_config(lora: Lora, task: str) -> LoraConfig:
    """Return what peft adds to a model for a task of its TaskType."""
    from peft import LoraConfig, TaskType

    return LoraConfig(
        task_type=TaskType(task),
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets or ALL_LINEAR,
        bias="none",
    )
