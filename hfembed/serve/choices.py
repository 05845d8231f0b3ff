"""What the one who serves a model may choose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Backend(StrEnum):
    """What computes the vectors."""

    ONNX = "onnx"
    TORCH = "torch"


class Precision(StrEnum):
    """The arithmetic; all but fp32 only where someone asks for it."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True)
class Wishes:
    """What the one who serves a model says about it; what is not said follows from its files.

    threads: of the processor, for computing. batches: how many are computed at a time.
    """

    backend: Backend | None = None
    precision: Precision = Precision.FP32
    name: str | None = None
    dimensions: tuple[int, ...] = ()
    threads: int | None = None
    batches: int | None = None


@dataclass(frozen=True)
class Limits:
    """What one request may ask, and what may wait; of a request what OpenAI's own endpoint allows.

    body: bytes. cuts: a text that is longer than the model reads is cut, not refused.
    """

    texts: int = 2048
    tokens: int = 300_000
    body: int = 16 * 2**20
    waiting_texts: int = 16_384
    waiting_tokens: int = 400_000
    cuts: bool = True
