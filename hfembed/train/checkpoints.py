"""What a killed phase goes on from: its newest whole checkpoint, its best weights, and what it ended with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfembed.run import write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

CHECKPOINT = "checkpoint-"
COMPLETE = "complete"
WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
RESULT = "result.json"
PILOT = "pilot.json"

Log = list[dict[str, float]]


def learning(model: SentenceTransformer) -> dict[str, Tensor]:
    """Return the weights that learn, by name, for a file."""
    return {
        name: weight.detach().cpu().contiguous().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def save(weights: dict[str, Tensor], file: Path) -> None:
    """Write weights so that the file is either old or new."""
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".partial")
    save_file(weights, temporary)
    temporary.replace(file)


def restore(model: SentenceTransformer, file: Path) -> None:
    """Put weights of a file back into the model."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(file), strict=False)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end; what a killed process left half-written goes."""
    steps = []
    for checkpoint in folder.glob(f"{CHECKPOINT}*"):
        if (checkpoint / COMPLETE).is_file():
            steps.append((int(checkpoint.name.removeprefix(CHECKPOINT)), checkpoint))
        else:
            shutil.rmtree(checkpoint)
    return max(steps)[1] if steps else None


def keep_result(model: SentenceTransformer, result: dict[str, Any], folder: Path) -> None:
    """Keep what a finished phase ended with; its checkpoints have done their work."""
    save({name: weight.detach().cpu().contiguous() for name, weight in model.named_parameters()}, folder / WEIGHTS)
    write_json(folder / RESULT, result)
    for checkpoint in folder.glob(f"{CHECKPOINT}*"):
        shutil.rmtree(checkpoint)


def read_result(model: SentenceTransformer, folder: Path) -> dict[str, Any] | None:
    """Give the model what a phase ended with, if it has; return its result."""
    if not (folder / RESULT).is_file():
        return None
    restore(model, folder / WEIGHTS)
    result: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return result


def forget_others(folder: Path) -> None:
    """Remove checkpoints that were made from other inputs than those of `folder`."""
    for other in folder.parent.glob("*") if folder.parent.is_dir() else ():
        if other != folder:
            shutil.rmtree(other)
